"""Tests of mean differences whose series are correlated in time (verification.md 14). Knows no scores and no files.

A series is [time, cell] in numpy, float64, one column per cell of a scorecard; NaN where a cell has no pair. Every test
says NaN rather than guess: for short series, for series that do not vary, and for init times without a regular step.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from fuxi_ens.grid import Float
from fuxi_ens.times import Times

Positions = NDArray[np.int64]
"""Integer times, [time]"""
CONSTANT: Final = 1e-9
"""A series varies if its range exceeds this part of its largest value; below is rounding."""


@dataclass(frozen=True, slots=True)
class MeanTest:
    """A two-sided test of mean 0 for each cell; all fields are [cell], NaN without a test."""

    p: Float
    error: Float
    """Standard error of the mean."""
    freedom: Float
    """Degrees of freedom of Student's t."""
    effective: Float
    """Number of independent values that would give the same error."""

    def interval(self, mean: Float, level: float) -> tuple[Float, Float]:
        """Ends of the confidence interval of coverage 1 - `level` around `mean`."""
        half = student.isf(level / 2, self.freedom) * self.error
        return mean - half, mean + half


def regular_positions(times: Times) -> Positions | None:
    """Positions of increasing `times` in units of their smallest step; None if some are no multiple of it."""
    if len(times) < 2:
        return np.zeros(len(times), np.int64)
    steps = np.diff(times)
    if (steps % steps.min() != np.timedelta64(0)).any():
        return None
    return np.concatenate([[0], np.cumsum(steps // steps.min())]).astype(np.int64)


def ar2_test(series: Float, positions: Positions) -> MeanTest:
    """The t-test of Geer (2016): the error of the mean is inflated as an autoregressive process of order 2 asks for.

    Where `positions` jump, autocorrelations rest on the pairs there are, and a cell with pairs for less than half of
    its values has no test. The inflation is at least 1.
    """
    values = np.full((int(positions[-1]) + 1, series.shape[1]), np.nan)
    values[positions] = series
    there = np.isfinite(values)
    count = there.sum(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values, 0.0).sum(axis=0) / count
        deviation = np.where(there, values - mean, 0.0)
        variance = (deviation**2).sum(axis=0) / (count - 1)
        first, second = (_autocorrelation(deviation, there, lag) for lag in (1, 2))
        inflation = _inflation(first, second)
        error = np.where(varies(series) & (count > 2), np.sqrt(inflation * variance / count), np.nan)
        return _student(mean, error, count - 1, count / inflation)


def _autocorrelation(deviation: Float, there: NDArray[np.bool_], lag: int) -> Float:
    """The usual estimate (divisor n, which keeps the process stationary), times n / pairs where pairs are missing."""
    pairs = (there[lag:] & there[:-lag]).sum(axis=0)
    count = there.sum(axis=0)
    share = pairs / (len(there) - lag) * len(there) / count
    estimate = (deviation[lag:] * deviation[:-lag]).sum(axis=0) / (deviation**2).sum(axis=0) / share
    return np.where(2 * pairs >= count - lag, estimate, np.nan)


def _inflation(first: Float, second: Float) -> Float:
    """Variance of the mean over that of white noise, from autocorrelations; NaN for no stationary process."""
    phi1 = first * (1 - second) / (1 - first**2)
    phi2 = (second - first**2) / (1 - first**2)
    stationary = (abs(phi2) < 1) & (phi1 + phi2 < 1) & (phi2 - phi1 < 1)
    inflation = (1 - first * phi1 - second * phi2) / (1 - phi1 - phi2) ** 2
    return np.where(stationary, np.maximum(inflation, 1.0), np.nan)


def ewc_test(series: Float) -> MeanTest:
    """The check without a model: the long-run variance from equally weighted cosines (Lazarus et al. 2018).

    The first 0.4 n^(2/3) cosine transforms give variance and degrees of freedom. Jumps in time are ignored.
    """
    return _by_pattern(series, _ewc)


def _ewc(series: Float) -> Float:
    """Rows of a MeanTest for a series without NaN."""
    count = len(series)
    cosines = max(1, int(0.4 * count ** (2 / 3)))
    power = dct(series - series.mean(axis=0), axis=0, norm="ortho")[1 : cosines + 1] ** 2
    variance = np.where(varies(series), power.mean(axis=0), np.nan)
    with np.errstate(invalid="ignore"):
        effective = series.var(axis=0, ddof=1) / variance * count
        test = _student(series.mean(axis=0), np.sqrt(variance / count), np.full(variance.shape, cosines), effective)
    return np.stack([test.p, test.error, test.freedom, test.effective])


def _student(mean: Float, error: Float, freedom: Float, effective: Float) -> MeanTest:
    p = 2 * student.sf(abs(mean) / error, freedom)
    known = np.isfinite(p)
    return MeanTest(p, error, *(np.where(known, field, np.nan) for field in (freedom, effective)))


def _by_pattern(series: Float, compute: Callable[[Float], Float]) -> MeanTest:
    """Apply `compute` to cells that have the same times, without the others; NaN for fewer than 3 values."""
    result = np.full((4, series.shape[1]), np.nan)
    for rows, cells in patterns(series):
        if rows.sum() > 2:
            result[:, cells] = compute(series[rows][:, cells])
    return MeanTest(*result)


def patterns(series: Float) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """Which times exist, [time], with the cells that have just these. There are few: late pairs lack a truth."""
    there, member = np.unique(np.isfinite(series), axis=1, return_inverse=True)
    return [(rows, np.flatnonzero(member == index)) for index, rows in enumerate(there.T)]


def varies(series: Float) -> NDArray[np.bool_]:
    """Cells whose values differ by more than rounding, [cell]."""
    low, high = np.fmin.reduce(series), np.fmax.reduce(series)
    return np.asarray(high - low > CONSTANT * np.maximum(abs(low), abs(high)))


def false_discovery(p: Float) -> Float:
    """Benjamini-Hochberg adjusted p-values, [cell]; NaN stays NaN and is no part of the family."""
    adjusted = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        adjusted[known] = false_discovery_control(p[known], method="bh")
    return adjusted


def block_length(series: Float) -> int:
    """Mean block length for all cells together: the average of their optimal ones (Politis and White), rounded up."""
    lengths = [1.0]
    for rows, cells in patterns(series):
        varying = cells[varies(series[:, cells])]
        # Below 9 values there are no lags to choose from. Short series divide by 0 on the way to their answer.
        if rows.sum() > 8 and varying.size:
            with np.errstate(divide="ignore", invalid="ignore"):
                optimal = optimal_block_length(series[rows][:, varying])["stationary"].to_numpy()
            lengths += optimal[np.isfinite(optimal)].tolist()
    return max(1, math.ceil(np.mean(lengths[1:] or lengths)))


def resample(count: int, length: int, resamples: int, seed: int) -> Float:
    """How often the stationary bootstrap draws each of `count` times, [resample, time]."""
    draws = StationaryBootstrap(length, np.arange(count), seed=np.random.default_rng(seed)).bootstrap(resamples)
    return np.stack([np.bincount(data[0], minlength=count) for data, _ in draws]).astype(np.float64)


def resampled_means(series: Float, drawn: Float) -> Float:
    """Means of all cells over the same drawn times, [resample, cell]; NaN where a draw misses all times of a cell."""
    there = np.isfinite(series)
    # Not BLAS, whose sums depend on the number of threads: equal runs give equal bits.
    sums = np.einsum("bt,tc->bc", drawn, np.where(there, series, 0.0), optimize=False)
    counts = np.einsum("bt,tc->bc", drawn, there.astype(np.float64), optimize=False)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


def bootstrap_p(means: Float, mean: Float) -> Float:
    """Two-sided p-values of mean 0 from `resampled_means` [resample, cell] around the `mean` [cell] they come from."""
    beyond = (abs(means - mean) >= abs(mean)).sum(axis=0)
    return np.where(np.isfinite(mean), (beyond + 1) / (len(means) + 1), np.nan)
