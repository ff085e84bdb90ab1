"""The CRPS of an ensemble of fields beside other packages, on the same cores, in one run.

Every way takes the array that its package likes best and must give the same average, which is checked first. They take
turns, round after round, so that a busy machine slows all of them; what counts are ratios of medians of the wall time.
Peak memory is what the process needs beside its arrays, over the bytes of the ensemble. Accuracy is against float64.
Packages that are not installed are left out (`pip install 'fuxi-ens[benchmarks,test]'`).

    python benchmarks/crps.py
    python benchmarks/crps.py --members 10,50 --height 181 --width 360 --rounds 3
"""

import importlib
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr
from memory import peak_while
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fuxi_ens.cores import available_cores
from fuxi_ens.verify import kernel, points
from fuxi_ens.verify.scores import crps

Ensemble, Truth = NDArray[np.float32], NDArray[np.float32]
Way = Callable[[Ensemble, Truth], NDArray[Any]]
FASTER_THAN_PEERS, LEAST_MEMORY, LEAST_ERROR = 10.0, 0.1, 1e-6
COMPARED_MEMBERS = 50
DIMS = ("number", "latitude", "longitude")


def ours(ensemble: Ensemble, truth: Truth) -> NDArray[Any]:
    """What `scores.crps` does, on all cores."""
    return crps(xr.DataArray(ensemble, dims=DIMS), xr.DataArray(truth, dims=DIMS[1:])).to_numpy()


def everything(ensemble: Ensemble, truth: Truth) -> NDArray[Any]:
    """One pass that also gives mean, variance and ranks, on one core, as a task of verify does it."""
    found = points.point_statistics(ensemble, truth)
    return found.absolute_error - found.difference


def with_numpy(ensemble: Ensemble, truth: Truth) -> NDArray[Any]:
    """Our own way without the kernel."""
    return crps(xr.DataArray(ensemble, dims=DIMS), xr.DataArray(truth, dims=DIMS[1:]), engine="sorted").to_numpy()


def properscoring(ensemble: Ensemble, truth: Truth) -> NDArray[Any]:
    """Standard estimator only."""
    return importlib.import_module("properscoring").crps_ensemble(truth, np.moveaxis(ensemble, 0, -1))


def xskillscore(ensemble: Ensemble, truth: Truth) -> NDArray[Any]:
    """Standard estimator only."""
    score = importlib.import_module("xskillscore").crps_ensemble
    arrays = xr.DataArray(truth, dims=DIMS[1:]), xr.DataArray(ensemble, dims=DIMS)
    return score(*arrays, member_dim="number", dim=[]).to_numpy()


def scoringrules(ensemble: Ensemble, truth: Truth) -> NDArray[Any]:
    """Its fastest fair estimator, with numba."""
    score = importlib.import_module("scoringrules").crps_ensemble
    return score(truth, ensemble, m_axis=0, estimator="pwm", backend="numba")


def scores(ensemble: Ensemble, truth: Truth) -> NDArray[Any]:
    """Fair estimator."""
    score = importlib.import_module("scores.probability").crps_for_ensemble
    arrays = xr.DataArray(ensemble, dims=DIMS), xr.DataArray(truth, dims=DIMS[1:])
    return score(*arrays, ensemble_member_dim="number", method="fair", preserve_dims="all").to_numpy()


OURS: dict[str, Way] = {"fuxi_ens": ours, "everything, 1 core": everything, "without kernel": with_numpy}
PEERS: dict[str, Way] = {way.__name__: way for way in (properscoring, xskillscore, scoringrules, scores)}
STANDARD = ("properscoring", "xskillscore")


def installed(name: str) -> bool:
    """Whether a peer can be imported; its warnings are its own affair."""
    try:
        importlib.import_module("scores.probability" if name == "scores" else name)
    except ImportError:
        return False
    return True


def fields(members: int, shape: tuple[int, int]) -> tuple[Ensemble, Truth]:
    """Numbers like 500 hPa geopotential, whose spread is a thousandth of their size."""
    rng = np.random.default_rng(2025)
    drawn = rng.standard_normal((members + 1, *shape), dtype=np.float32)
    drawn *= 60.0
    drawn += 5.5e4
    return drawn[:-1], drawn[-1]


def exact(ensemble: Ensemble, truth: Truth, *, fair: bool) -> NDArray[np.float64]:
    """In float64, row by row."""
    members = len(ensemble)
    factor = (2 * np.arange(members) - members + 1)[:, None] / (members * (members - (1 if fair else 0)))
    result = np.empty(truth.shape)
    for row, observed in enumerate(truth.astype(np.float64)):
        error = np.sort(ensemble[:, row].astype(np.float64) - observed, axis=0)
        result[row] = np.abs(error).mean(axis=0) - (factor * error).sum(axis=0)
    return result


def extra_memory(name: str, members: int, shape: tuple[int, int]) -> float:
    """Peak beside the arrays over the bytes of the ensemble, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak-of", name, "--members", str(members), "--height", str(shape[0]),
         "--width", str(shape[1])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def print_peak(name: str, members: int, shape: tuple[int, int]) -> None:
    """The child's part: compile and import at small size first, so that only memory for the field counts."""
    way = {**OURS, **PEERS}[name]
    few = kernel.STRAIGHT_POINTS  # as many as make the kernel choose the code of large fields
    way(*fields(members, (1, few)))
    ensemble, truth = fields(members, shape)
    print(peak_while(lambda: way(ensemble, truth)) / ensemble.nbytes)  # noqa: T201 (read by the parent)


def medians(ways: dict[str, Way], arrays: tuple[Ensemble, Truth], rounds: int) -> dict[str, float]:
    """Median seconds of each way, which take turns."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way(*arrays)
            took[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in took.items()}


def compare(console: Console, members: int, shape: tuple[int, int], rounds: int) -> None:
    """One table for one ensemble size."""
    arrays = fields(members, shape)
    ways = {**OURS, **{name: way for name, way in PEERS.items() if installed(name)}}
    expected = {fair: exact(*arrays, fair=fair) for fair in (True, False)}
    errors = {}
    for name, way in ways.items():
        reference = expected[name not in STANDARD]
        found = np.asarray(way(*arrays), np.float64).reshape(reference.shape)
        errors[name] = float(np.abs(found / reference - 1).mean())
        np.testing.assert_allclose(found.mean(), reference.mean(), rtol=1e-3, err_msg=name)
    took = medians(ways, arrays, rounds)
    title = f"CRPS, {members} members, {shape[0]}x{shape[1]}, {available_cores()} cores, medians of {rounds}"
    table = Table("way", "ms", "x ours", "extra memory / ensemble", "mean relative error", title=title)
    memory = {name: extra_memory(name, members, shape) for name in ways}
    for name in ways:
        ratio = took[name] / took["fuxi_ens"]
        table.add_row(name, f"{1e3 * took[name]:.1f}", f"{ratio:.2f}", f"{memory[name]:.2f}", f"{errors[name]:.1e}")
    console.print(table)
    peers = [took[name] for name in ways if name in PEERS]
    if members == COMPARED_MEMBERS and peers:
        faster = min(peers) / took["fuxi_ens"]
        console.print(f"fastest peer / ours: {faster:.1f}, goal {FASTER_THAN_PEERS:g} or more")
        console.print(f"extra memory: {memory['fuxi_ens']:.3f} of the ensemble, goal below {LEAST_MEMORY:g}")
        console.print(f"mean relative error: {errors['fuxi_ens']:.1e}, goal below {LEAST_ERROR:g}")


def main(
    members: Annotated[str, typer.Option(help="Ensemble sizes, with commas.")] = "10,50,100,500",
    height: int = 721,
    width: int = 1440,
    rounds: int = 7,
    peak_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Compare ways to the CRPS."""
    warnings.filterwarnings("ignore")
    sizes = [int(size) for size in members.split(",")]
    if peak_of:
        print_peak(peak_of, sizes[0], (height, width))
        return
    console = Console()
    absent = [name for name in PEERS if not installed(name)]
    if absent:
        console.print(f"not installed, left out: {', '.join(absent)}")
    for size in sizes:
        compare(console, size, (height, width), rounds if size < 500 else min(rounds, 3))


if __name__ == "__main__":
    typer.run(main)
