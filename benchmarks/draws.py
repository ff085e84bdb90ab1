"""What the ways of drawing members do to the CRPS, where the truth is known.

A forecast turns noise into a number: member m gives f(w . eps_m), where w spreads the weight over so many elements of
white noise as a smoothing network does, and the truth is one more independent draw. The ensemble is perfect: all there
is to see comes from its finite size. Scores are divided by that of infinitely many independent members, so 1 + 1/M is
what independent members get from the standard CRPS of normal values, and 1 from the fair one. The error of the
ensemble mean is in units of that of independent members, sigma / sqrt(M).

    python benchmarks/draws.py
    python benchmarks/draws.py --cases 200 --members 10
"""

import itertools
import math
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fuxi_ens.forecast.draws import Draws

KINDS = ("random", "antithetic", "stratified")
FUNCTIONS = {
    "linear": lambda x: x,
    "lognormal": lambda x: np.exp(0.8 * x),
    "exceeds 1": lambda x: (x > 1).astype(float),
}
CPU = torch.device("cpu")
START = np.datetime64("2018-01-01", "ns")


def noise(kind: str, members: int, elements: int, cases: int) -> NDArray[np.float64]:
    """Weighted sums of the noise of all members, [case, member], standard normal."""
    draws = Draws(kind, 7, members)
    out = np.empty((cases, members))
    for case in range(cases):
        time = START + case * np.timedelta64(6, "h")
        for m in range(members):
            eps = draws.source(time, m, 0, CPU).normal((elements,)).numpy()
            out[case, m] = eps.sum(dtype="f8") / math.sqrt(elements)
    return out


def terms(ens: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean absolute error and the sum of |x_i - x_j| over all pairs (i, j), per case."""
    members = ens.shape[1]
    ordered = np.sort(ens, axis=1)
    pairs = 2 * ordered @ (2 * np.arange(1, members + 1) - members - 1)
    return np.abs(ens - truth[:, None]).mean(axis=1), pairs


def limit(function: str, count: int = 2_000_000) -> float:
    """The CRPS of infinitely many independent members: E|X - Y| / 2."""
    x, y = np.random.default_rng(1).standard_normal((2, count))
    return float(np.abs(FUNCTIONS[function](x) - FUNCTIONS[function](y)).mean() / 2)


def cells(sums: NDArray[np.float64], function: str) -> list[str]:
    """Relative scores with their standard errors, and the error of the ensemble mean, of sums [case, member]."""
    values = FUNCTIONS[function](sums)
    cases, members = values.shape
    # Many truths per ensemble: they are cheap, and the ensembles are what varies.
    truths = FUNCTIONS[function](np.random.default_rng(2).standard_normal((cases, 500)))
    scores = [terms(values, truth) for truth in truths.T]
    error, pairs = np.mean([mae for mae, _ in scores], axis=0), scores[0][1]
    standard = (error - pairs / (2 * members**2)) / limit(function)
    fair = (error - pairs / (2 * members * (members - 1))) / limit(function)
    spread = FUNCTIONS[function](np.random.default_rng(1).standard_normal(10**6)).std()
    mean = values.mean(axis=1).std() / spread * math.sqrt(members)
    shown = [f"{score.mean():.4f} ± {score.std() / math.sqrt(cases):.4f}" for score in (standard, fair)]
    return [*shown, f"{mean:.2f}"]


def main(
    cases: Annotated[int, typer.Option(help="Ensembles per line.")] = 1000,
    members: Annotated[list[int], typer.Option(help="Ensemble size. Repeatable.")] = [10, 50],  # noqa: B006
    elements: Annotated[list[int], typer.Option(help="Elements of noise per value. Repeatable.")] = [1, 100],  # noqa: B006
) -> None:
    """Print the table."""
    table = Table("function", "elements", "members", "draws", "standard CRPS", "fair CRPS", "error of mean")
    for count, size in itertools.product(elements, members):
        sums = {kind: noise(kind, size, count, cases) for kind in KINDS}
        for function, kind in itertools.product(FUNCTIONS, KINDS):
            table.add_row(function, str(count), str(size), kind, *cells(sums[kind], function))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
