"""Real ranks: processes that meet over gloo, as torchrun would start them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tiny_run import write_settings

PROGRAM = Path(__file__).with_name("fit_ranks.py")
_PATIENCE = 1200
"""Seconds for what takes a minute on two idle cores."""


def free_ports(count):
    """The first of `count` ports that are free together, as far as one can tell."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        if first + count < 60000:
            return first


def start_ranks(world, command, port=None):
    """Start `command` once per rank; the processes."""
    port = port or free_ports(20)
    shared = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def start_fit(world, configs):
    """Start to train all `configs` on `world` ranks; the processes."""
    paths = []
    for config in configs:
        config.run.folder.mkdir(parents=True, exist_ok=True)
        paths.append(write_settings(config, config.run.folder / "run.yaml"))
    return start_ranks(world, [PROGRAM, *paths])


def finish(processes, code=0):
    """Wait for ranks that all must end with `code`; what they wrote to stderr, by rank."""
    said = [process.communicate(timeout=_PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), "\n".join(said)
    return said


def fit_on_ranks(world, configs):
    """Train all `configs` on `world` ranks to the end."""
    return finish(start_fit(world, configs))
