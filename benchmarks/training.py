"""What the training loop costs beside its arithmetic, and what a second process brings.

The loop: a run of one stage on the packaged sample, held in memory, validated and saved at its end only. After each of
its iterations a bare step follows on a network and a batch of its own: forward, backward, clipping, AdamW, the running
average. Both are timed, so a busy machine slows both; what counts is the ratio of medians. Time of the loop is all from
the start of an iteration to the start of the next but for the bare step. Data wait: the share of a run's time without a
batch, when it reads from the store. Weak scaling: seconds per iteration of one process over those of two, each with the
same batch per process; on a machine with two cores two processes also share its memory.

    python benchmarks/training.py
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import typer
from goals import Figure, print_figures
from rich.console import Console

from fuxi_ens.assets import config_file
from fuxi_ens.config import Config, load_config
from fuxi_ens.data.loader import load_batch
from fuxi_ens.data.samples import RankPlace, SampleIndex
from fuxi_ens.data.statistics import compute_statistics, load_statistics
from fuxi_ens.losses.objective import ObjectiveTerms
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.average import RunningAverage
from fuxi_ens.train.loop import fit
from fuxi_ens.train.module import TrainingModule
from fuxi_ens.train.parallel import choose_trained
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.sampling import StageSamples
from fuxi_ens.train.setup import initial_model, open_frames, point_weights
from fuxi_ens.train.stage import StageRun

FIT = (
    "import os, sys; from fuxi_ens.config import load_config; from fuxi_ens.train.loop import fit; "
    "fit(load_config(sys.argv[1], sys.argv[2:])); os._exit(0)"
)


def settings(folder: Path, iterations: int, *, in_memory: bool = True) -> list[str]:
    """One ensemble stage of the demo with nothing but training in it."""
    stage = {"name": "ensemble", "objective": "crps_kl", "iterations": iterations, "learning_rate": 1e-4}
    stage |= {"batch_size": 1, "members": 2}
    return [
        f"run.folder={json.dumps(str(folder))}",
        "run.threads=1",
        f"train.stages={json.dumps([stage])}",
        f"data.in_memory={json.dumps(in_memory)}",
        "train.validation_init_times=1",
        "train.validate_every=100000",
        "train.checkpoint_every=100000",
        f"train.log_every={iterations // 2}",
        "train.trackers=[]",
    ]


def prepared(folder: Path, iterations: int, *, in_memory: bool = True) -> Config:
    """A run that can start: its folder holds the statistics."""
    config = load_config(config_file("demo"), settings(folder, iterations, in_memory=in_memory))
    compute_statistics(config).save(RunPaths(folder).statistics)
    return config


def paces(folder: Path) -> list[dict[str, float]]:
    """What the run recorded of its own pace, after the first half, in which it warms up."""
    lines = RunPaths(folder).metrics.read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "pace"][1:]


class BareStep:
    """Forward, backward and optimizer on one batch that lies in memory."""

    def __init__(self, config: Config) -> None:
        device, self.stage = torch.device("cpu"), config.train.stages[0]
        self.bfloat16 = config.train.precision == "bfloat16"
        statistics_file = RunPaths(config.run.folder).statistics
        self.model = initial_model(config, load_statistics(statistics_file, config), device)
        choose_trained(self.model, self.stage)
        weights = point_weights(self.model, config.train)
        self.module = TrainingModule(self.model, self.stage, weights, Ranks.alone(), config.train)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.average = RunningAverage(self.model, config.train.ema_decay)
        frames = open_frames(config, config.data.train)
        index = SampleIndex.legal(frames.times, config.data.train, config.data.step_size, 1)
        self.samples = StageSamples(config, 0, index, RankPlace(), device)
        self.batch = load_batch(frames, self.samples.init_times(0), config.data.step_size, 1)

    def take(self, i: int) -> None:
        """One step."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            terms = self.module(self.batch, self.samples.noise(i), 3e-4)
        self.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update()


def side_by_side(folder: Path, iterations: int) -> tuple[list[float], list[float]]:
    """Seconds of the loop's iterations, and of the bare steps between them."""
    config = prepared(folder, iterations)
    bare, looped, bared = BareStep(config), list[float](), list[float]()
    began: list[float] = []
    iterate = StageRun._iterate

    def both(run: StageRun, i: int, *arguments: Any, **options: Any) -> ObjectiveTerms:
        if began:
            looped.append(time.perf_counter() - began[-1])
        started = time.perf_counter()
        bare.take(i)
        bared.append(time.perf_counter() - started)
        began.append(time.perf_counter())
        return iterate(run, i, *arguments, **options)

    StageRun._iterate = both  # type: ignore[method-assign]
    try:
        fit(config)
    finally:
        StageRun._iterate = iterate  # type: ignore[method-assign]
    half = iterations // 2
    return looped[half:], bared[half:]


def data_wait(folder: Path, iterations: int) -> float:
    """Percent of its time that a loop waits for batches from the store."""
    fit(prepared(folder, iterations, in_memory=False))
    return paces(folder)[-1]["data_wait_percent"]


def on_processes(count: int, folder: Path, iterations: int) -> float:
    """Seconds per iteration on `count` processes, by the record of rank 0."""
    prepared(folder, iterations)
    shared = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29611"}
    command = [sys.executable, "-c", FIT, str(config_file("demo")), *settings(folder, iterations)]
    ranks = [subprocess.Popen(command, env={**shared, "RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(count)]
    if any(rank.wait() for rank in ranks):
        raise RuntimeError("a rank failed")
    return paces(folder)[-1]["seconds_per_iteration"]


def main(
    iterations: Annotated[int, typer.Option(min=4, help="Of every run; the second half is timed.")] = 16,
    rounds: Annotated[int, typer.Option(help="Turns of every number of processes.")] = 2,
) -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    console = Console()
    ones, twos = [], []
    with tempfile.TemporaryDirectory() as scratch:
        loop, bare = map(statistics.median, side_by_side(Path(scratch, "loop"), iterations))
        console.print(f"bare step {1e3 * bare:.1f} ms, loop {1e3 * loop:.1f} ms")
        wait = data_wait(Path(scratch, "wait"), iterations)
        for i in range(rounds):
            ones.append(on_processes(1, Path(scratch, f"one{i}"), iterations))
            twos.append(on_processes(2, Path(scratch, f"two{i}"), iterations))
    one, two = statistics.median(ones), statistics.median(twos)
    console.print(
        f"weak scaling: iteration on one process {1e3 * one:.1f} ms, on two {1e3 * two:.1f} ms, {one / two:.2f} of "
        "perfect; no goal on cores that share a memory"
    )
    figures = [
        Figure("overhead of the loop over the bare step", loop / bare - 1, "at most", 0.05, ".1%"),
        Figure("data wait on a 64x32 store", wait / 100, "at most", 0.05, ".2%"),
    ]
    print_figures(console, figures)


if __name__ == "__main__":
    typer.run(main)
