"""Every benchmark still runs: at the smallest size, as a user starts it, to the table with all its contestants."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"

RUNS = {
    "checkpoint_save": (
        "--folder {scratch} --gigabytes 0.001 --parameters 3 --saves 1",
        ["blocking", "limit", "first save", "share of a save that blocks training"],
    ),
    "crps": (
        "--members 4 --height 3 --width 8 --rounds 1",
        # Peers that are not installed are named above the table.
        ["fuxi_ens", "everything, 1 core", "without kernel", "properscoring", "scoringrules", "scores", "xskillscore"],
    ),
    "crps_loss": (
        "--points 4096 --rounds 1",
        ["ours ms", "sort", "pair broadcast", "loop", "CRPS and KL over the step of demo, 4 members"],
    ),
    "draws": ("--cases 5 --members 4 --elements 1", ["linear", "lognormal", "random", "antithetic", "stratified"]),
    "forecast": (
        "--members 2 --steps 2 --rounds 1",
        ["end to end / bare", "writer / zarr", "peak / predicted", "members: twice", "lead times: twice"],
    ),
    "training": (
        "--iterations 4 --rounds 1",
        ["bare step", "weak scaling", "overhead of the loop over the bare step", "data wait on a 64x32 store"],
    ),
    "verify": (
        "--names z500 --members 3 --height 9 --width 16 --init-times 1 --lead-times 1 --rounds 1",
        ["decode", "stream", "verify", "zarr-python", "peak / predicted memory"],
    ),
}
LEFT_OUT = {
    "anemoi_reader": "started by data_streaming, in an environment with anemoi-datasets",
    "data_streaming": "writes stores of 5 GB and needs tensorstore and xbatcher",
    "forecast_peers": "needs an environment with earth2studio",
    "model_step": "needs timm without torchvision, and over a minute of one core at its smallest width",
}
SHARED = {"fields", "goals", "memory", "no_torchvision"}
"""What the scripts import; no benchmarks themselves."""


def test_every_script_is_run_or_left_out_for_a_reason():
    assert {path.stem for path in FOLDER.glob("*.py")} == RUNS.keys() | LEFT_OUT.keys() | SHARED


@pytest.mark.slow
@pytest.mark.parametrize("script", RUNS)
def test_it_runs_and_its_table_names_the_contestants(script, tmp_path):
    options, contestants = RUNS[script]
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{script}.py"), *options.format(scratch=tmp_path).split()],
        cwd=FOLDER.parent,
        # Wide enough that rich breaks no name.
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [name for name in contestants if name not in done.stdout] == [], done.stdout
    # Warnings are errors only in the process of the tests; an outdated call announces itself by one.
    assert "Warning" not in done.stderr
