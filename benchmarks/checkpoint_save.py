"""How long a training step waits for a save, and how long the save takes altogether.

Tensors of one network with its average and AdamW's two moments, float32, written to `folder` and synced. Between saves
the main thread does nothing, as if a GPU computed. Waiting is what blocks the main thread: planning and copying before
the write, the manifest after it. The first save also fills fresh memory and is told apart. `limit` copies the same
tensors into memory that exists: no save that lets training go on can block for less.

    python benchmarks/checkpoint_save.py --folder /tmp/states
"""

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from goals import Figure, print_figures
from rich.console import Console
from torch import Tensor

from fuxi_ens.data.samples import RankPlace
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.state import Position, StateStore

GROUPS = ("model", "average", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one save."""

    blocking: float
    total: float


def network(gigabytes: float, parameters: int, device: torch.device) -> dict[str, Any]:
    """State of a network of so many parameters of equal size."""
    size = round(gigabytes * 1e9 / len(GROUPS) / parameters / 4)
    return {name: {f"{i}": torch.randn(size, device=device) for i in range(parameters)} for name in GROUPS}


def measure(folder: Path, tensors: dict[str, Any], saves: int) -> list[Timing]:
    """Save one after another, settle each as soon as it is written."""
    store = StateStore(folder, "benchmark", 1, Ranks(RankPlace(), None, None))
    timings = []
    for iteration in range(saves):
        start = time.perf_counter()
        store.begin(Position(0, iteration), tensors, {}, None)
        begun = time.perf_counter()
        while not store.ready():
            time.sleep(0.002)
        written = time.perf_counter()
        store.settle(wait=True)
        end = time.perf_counter()
        timings.append(Timing(begun - start + end - written, end - start))
        # Training goes on while the state before is deleted.
        time.sleep(1.0)
    return timings


def copying(tensors: dict[str, Any]) -> Callable[[], None]:
    """Copy all tensors to memory that has been touched before."""
    sources = [tensor for group in tensors.values() for tensor in group.values()]
    copies: list[Tensor] = [tensor.cpu().clone() for tensor in sources]

    def copy() -> None:
        for target, source in zip(copies, sources, strict=True):
            target.copy_(source)

    return copy


def median_seconds(work: Callable[[], None], rounds: int) -> float:
    """Median of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(
    folder: Annotated[Path, typer.Option(help="Where to write; a folder in it is made and deleted.")],
    gigabytes: Annotated[float, typer.Option(help="Size of the state.")] = 1.0,
    parameters: Annotated[int, typer.Option(help="Tensors of the network.")] = 500,
    saves: Annotated[int, typer.Option(help="Saves after the first.")] = 5,
    device: Annotated[str, typer.Option(help="Where the tensors are.")] = "cpu",
) -> None:
    """Print blocking and total time."""
    torch.set_num_threads(1)
    states = folder / "checkpoint_save"
    tensors = network(gigabytes, parameters, torch.device(device))
    first, *rest = measure(states, tensors, saves + 1)
    shutil.rmtree(states)
    blocking = statistics.median(timing.blocking for timing in rest)
    total = statistics.median(timing.total for timing in rest)
    limit = median_seconds(copying(tensors), saves)
    share = f"blocking {blocking:.3f} s of {total:.2f} s, limit {limit:.3f} s"
    begin = f"first save {first.blocking:.3f} s of {first.total:.2f} s"
    size = f"{gigabytes:g} GB in {len(GROUPS) * parameters} tensors on {device}"
    console = Console(soft_wrap=True)
    console.print(f"{size}: {share}; {begin}")
    print_figures(console, [Figure("share of a save that blocks training", blocking / total, "at most", 0.10, ".1%")])


if __name__ == "__main__":
    typer.run(main)
