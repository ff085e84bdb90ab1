"""What a forecast costs beside the network: time, writing, memory; and whether cost grows as members and lead times do.

On the packaged nature run with a network of random weights, one thread of the model's. Contestants take turns, round
after round; what counts is the ratio of medians.

- `end to end / bare`: members per minute of `run_forecast`, with reading, noise, guard, handing over and writing, to
  those of the network alone on states that stay in memory.
- `writer / zarr`: bytes per second of the store's sink to those of plain zarr assignments of the same arrays.
- `peak / predicted`: most memory a process of its own took, to what `fuxi-ens check` says.
- `members`, `lead times`: time of twice as many to twice the time.

    python benchmarks/forecast.py
    python benchmarks/forecast.py --members 8 --steps 8 --rounds 3     # seconds
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import zarr
from rich.console import Console
from rich.table import Table

from fuxi_ens.checkpoint import load_models, save_checkpoint
from fuxi_ens.config import Config, load_config
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.forecast.estimate import PROCESS_BYTES, estimate
from fuxi_ens.forecast.layout import layout_of
from fuxi_ens.forecast.sink import ForecastPlan, WorkItem
from fuxi_ens.forecast.store_sink import open_store_sink
from fuxi_ens.model import build_model
from fuxi_ens.paths import RunPaths
from fuxi_ens.times import clock

RUN_FILE = Path(__file__).parents[1] / "configs" / "demo.yaml"
GOALS = {
    "end to end / bare": (0.9, "at least"),
    "writer / zarr": (0.9, "at least"),
    "peak / predicted": (0.85, "at least"),
    "predicted / peak": (0.85, "at least"),
    "members: twice as many / twice the time": (1.1, "at most"),
    "lead times: twice as many / twice the time": (1.1, "at most"),
}


def configure(folder: Path, members: int, steps: int) -> Config:
    """One init time of the demo with so many members and steps, below `folder`, with a model."""
    changes = {
        "run.folder": folder,
        "run.threads": 1,
        "forecast.init_times": "[1997-01-02]",
        "forecast.members": members,
        "forecast.steps": steps,
        "forecast.members_per_batch": min(members, 4),
        "forecast.leads_per_shard": steps,
        # Random weights make no weather.
        "forecast.guard_factor": '"off"',
        "report": "null",
    }
    config = load_config(RUN_FILE, [f"{key}={value}" for key, value in changes.items()])
    if not RunPaths(folder).model.exists():
        torch.manual_seed(1)
        save_checkpoint(RunPaths(folder).model, build_model(config.model, posterior=False), 6, {})
    return config


def forecast_seconds(config: Config) -> float:
    """Of a forecast from a model on disk to a complete store."""
    for path in (config.forecast_store, RunPaths.claims(config.forecast_store)):
        shutil.rmtree(path, ignore_errors=True)
    return seconds(lambda: run_forecast(config))


@torch.no_grad()
def bare_seconds(config: Config) -> float:
    """Of the network alone, batch by batch."""
    model = load_models(RunPaths(config.run.folder).model, torch.device("cpu")).first.model
    forecast, size = config.forecast, config.forecast.members_per_batch
    shape = (size, 2, len(config.model.channels), config.model.height, config.model.width)
    state, eps = torch.zeros(shape), torch.randn(shape)
    now = torch.from_numpy(clock(np.repeat(forecast.init_times.times, size), 0))

    def run() -> None:
        for _ in range(0, forecast.members, size):
            x = state
            for _ in range(forecast.steps):
                x = model.step(x, now, eps, lambda h: h)

    return seconds(run)


def sink_seconds(config: Config, fields_MCHW: np.ndarray) -> float:
    """Of the store's sink with fields that are there already."""
    shutil.rmtree(RunPaths(config.run.folder).forecast, ignore_errors=True)
    item = WorkItem(config.forecast.init_times.times[0], config.forecast.numbers)
    plan = ForecastPlan(config, config.model.channels, (item,), {})

    def run() -> None:
        sink = open_store_sink(plan)
        sink.begin(item)
        for lead in range(config.forecast.steps):
            sink.write(item, lead, item.numbers, fields_MCHW)
        sink.finish(item)
        sink.close()

    return seconds(run)


def zarr_seconds(config: Config, fields_MCHW: np.ndarray) -> float:
    """Of plain assignments to the arrays of a store that is there already, metadata included."""
    path = RunPaths(config.run.folder).forecast
    shutil.rmtree(path, ignore_errors=True)
    layout = layout_of(config)
    columns = {name: config.model.channels.index(name) for name in layout.channels}

    def run() -> None:
        item = WorkItem(config.forecast.init_times.times[0], config.forecast.numbers)
        open_store_sink(ForecastPlan(config, config.model.channels, (item,), {})).close()
        group = zarr.open_group(path, mode="r+")
        for variable in layout.variables:
            shape = (layout.members, len(layout.lead_times), *layout.fields_of(variable))
            values = np.full(shape, np.nan, np.float32)
            for channel in variable.channels:
                place = (variable.levels.index(channel.level),) if channel.level is not None else ()
                values[(slice(None), slice(None), *place)] = fields_MCHW[:, None, columns[channel.name]]
            group[variable.name][0] = values

    return seconds(run)


def seconds(run: Callable[[], object]) -> float:
    """Wall time."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def peak_bytes(members: int, steps: int, folder: Path) -> float:
    """Most memory that a process takes which makes the forecast and nothing else."""
    command = [sys.executable, __file__, "--members", str(members), "--steps", str(steps), "--only-run", str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def ratios(folder: Path, members: int, steps: int, rounds: int) -> dict[str, float]:
    """The figures of the goals, and some more."""
    config = configure(folder / "base", members, steps)
    more, longer = configure(folder / "more", 2 * members, steps), configure(folder / "longer", members, 2 * steps)
    shape = (members, len(config.model.channels), config.model.height, config.model.width)
    fields = np.random.default_rng(1).normal(280.0, 10.0, shape).astype(np.float32)
    contestants = {
        "bare": lambda: bare_seconds(config),
        "end to end": lambda: forecast_seconds(config),
        "more": lambda: forecast_seconds(more),
        "longer": lambda: forecast_seconds(longer),
        "writer": lambda: sink_seconds(config, fields),
        "zarr": lambda: zarr_seconds(config, fields),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            times[name].append(measure())
    median = {name: statistics.median(values) for name, values in times.items()}
    needs = estimate(config)
    peak, predicted = peak_bytes(members, steps, folder / "memory"), needs.device_bytes + needs.host_bytes
    written = members * steps * needs.layout.frame_bytes
    return {
        "members per minute, end to end": 60 * members / median["end to end"],
        "members per minute, bare": 60 * members / median["bare"],
        "end to end / bare": median["bare"] / median["end to end"],
        "writer, MB/s": written / median["writer"] / 1e6,
        "writer / zarr": median["zarr"] / median["writer"],
        "peak memory, MB": peak / 1e6,
        "predicted memory, MB": predicted / 1e6,
        "of it before any field, MB": PROCESS_BYTES / 1e6,
        "peak / predicted": peak / predicted,
        "predicted / peak": predicted / peak,
        "members: twice as many / twice the time": median["more"] / median["end to end"] / 2,
        "lead times: twice as many / twice the time": median["longer"] / median["end to end"] / 2,
    }


def main(
    members: Annotated[int, typer.Option(help="Members of the forecast.")] = 20,
    steps: Annotated[int, typer.Option(help="Lead times.")] = 40,
    rounds: Annotated[int, typer.Option(help="Turns that each contestant gets.")] = 3,
    only_run: Annotated[Path | None, typer.Option(help="Make the forecast here, and print the peak of memory.")] = None,
) -> None:
    """Print the figures beside their goals."""
    warnings.filterwarnings("ignore", "Consolidated metadata")
    if only_run:
        run_forecast(configure(only_run, members, steps))
        # Not getrusage: its peak counts what the caller had when it started this process.
        peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
        print(1024 * int(peak))  # noqa: T201 - read by the caller
        return
    with tempfile.TemporaryDirectory() as folder:
        found = ratios(Path(folder), members, steps, rounds)
    table = Table("figure", "found", "goal", title=f"{members} members, {steps} lead times, median of {rounds} rounds")
    for name, value in found.items():
        goal, sense = GOALS.get(name, (None, ""))
        table.add_row(name, f"{value:.3g}", "" if goal is None else f"{sense} {goal:g}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
