"""Scores of probabilities of an event, all from two tables that add (verification.md 9 and 10).

Of M members k are in the event. The tables hold, for each k = 0..M along `count`, the weight of all cases
(`forecasts`) and of those in which the event occurred (`occurrences`). They add over points, times and chunks, and
every score here is made of their sums: no probability is rounded into a bin. Tables without any weight give NaN.
"""

from typing import Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.verify.scores import MEMBER

COUNT: Final = "count"


class Tables(NamedTuple):
    """Weights by the number of members in the event, [..., count]."""

    forecasts: xr.DataArray
    """Of all cases"""
    occurrences: xr.DataArray
    """Of the cases in which the event occurred"""

    @property
    def members(self) -> int:
        """Ensemble size M."""
        return int(self.forecasts.sizes[COUNT]) - 1

    @property
    def probability(self) -> xr.DataArray:
        """Forecast probabilities k / M, [count]."""
        return xr.DataArray(np.arange(self.members + 1) / self.members, dims=COUNT)

    @property
    def base_rate(self) -> xr.DataArray:
        """Observed frequency of the event."""
        return _ratio(self.occurrences.sum(COUNT, skipna=False), self.forecasts.sum(COUNT, skipna=False))


class Murphy(NamedTuple):
    """Brier score (standard) = reliability - resolution + uncertainty."""

    reliability: xr.DataArray
    resolution: xr.DataArray
    uncertainty: xr.DataArray


class Roc(NamedTuple):
    """Rates for warnings by at least j members, [..., threshold], j = M+1 (never) down to 0 (always)."""

    hit_rate: xr.DataArray
    false_alarm_rate: xr.DataArray


def tables(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    threshold: float | xr.DataArray,
    weights: xr.DataArray,
    above: bool = True,
) -> Tables:
    """Tables of the event `value > threshold` (or `<`), strict; reduces `number` and all dimensions of `truth`.

    Points of weight 0 are left out, even if NaN. Raises ValueError for NaN in a member, the truth or the threshold at
    any other point, and for unequal coordinates. Loads Dask arrays.
    """
    limit = xr.DataArray(threshold)
    xr.align(forecast, truth, weights, limit, join="exact", copy=False)
    inside = (forecast > limit, truth > limit) if above else (forecast < limit, truth < limit)
    known = forecast.notnull().all(MEMBER) & truth.notnull() & limit.notnull()
    if bool(((weights != 0) & ~known).any()):
        raise ValueError("NaN in forecast, truth or threshold at a point with weight; give such points weight 0")
    length = forecast.sizes[MEMBER] + 1
    order = truth.dims
    counts = inside[0].sum(MEMBER).transpose(*order).to_numpy().ravel()
    weight = weights.broadcast_like(truth).transpose(*order).to_numpy().ravel()
    hits = np.where(inside[1].transpose(*order).to_numpy().ravel(), weight, 0.0)
    return Tables(*(xr.DataArray(np.bincount(counts, w, length), dims=COUNT) for w in (weight, hits)))


def brier_score(table: Tables, fair: bool = True) -> xr.DataArray:
    """Mean Brier score, reduces `count`; fair subtracts the mean of p (1 - p) / (M - 1) (Ferro 2014).

    Equals the average of `scores.brier` per point. Raises ValueError for the fair score of one member.
    """
    p, members = table.probability, table.members
    missed = table.forecasts - table.occurrences
    total = (table.occurrences * (1 - p) ** 2 + missed * p**2).sum(COUNT, skipna=False)
    if fair:
        if members < 2:
            raise ValueError(f"the fair Brier score needs at least 2 members, got {members}; use fair=False")
        total = total - (table.forecasts * p * (1 - p)).sum(COUNT, skipna=False) / (members - 1)
    return _ratio(total, table.forecasts.sum(COUNT, skipna=False))


def brier_skill(table: Tables, reference: float | xr.DataArray | None = None, fair: bool = True) -> xr.DataArray:
    """1 - Brier score / Brier score of a constant probability on the same cases, reduces `count`; 1 is perfect.

    `reference` is the climatological probability, 0.1 for values above the 90 % quantile; None takes the base rate of
    the sample, whose Brier score is the uncertainty. NaN where the reference is perfect.
    """
    rate = table.base_rate
    constant = rate if reference is None else xr.DataArray(reference)
    return 1.0 - _ratio(brier_score(table, fair), constant**2 - 2 * constant * rate + rate)


def murphy(table: Tables) -> Murphy:
    """Decomposition of the standard Brier score, exact because each k / M is a class of its own; reduces `count`."""
    rate, total = table.base_rate, table.forecasts.sum(COUNT, skipna=False)
    # A class that was never forecast has no frequency and no weight.
    frequency = (table.occurrences / table.forecasts.where(table.forecasts != 0)).where(table.forecasts != 0, 0.0)
    reliability = (table.forecasts * (table.probability - frequency) ** 2).sum(COUNT, skipna=False)
    resolution = (table.forecasts * (frequency - rate) ** 2).sum(COUNT, skipna=False)
    return Murphy(_ratio(reliability, total), _ratio(resolution, total), rate * (1 - rate))


def reliability_curve(table: Tables, classes: int | None = None) -> xr.Dataset:
    """Points of the reliability diagram, [..., probability_class]: where to draw, how high, how much it weighs.

    `forecast_probability` is the mean of the probabilities in a class, never its middle; `observed_frequency` is NaN in
    a class that was never forecast; `weight` is the share of the cases. None makes each k / M a class; otherwise they
    are `classes` of equal width, closed below, the last on both sides.
    """
    number = table.members + 1 if classes is None else classes
    index = np.arange(number) if classes is None else class_index(table.members, classes)
    belongs = xr.DataArray(index[:, None] == np.arange(number), dims=(COUNT, "probability_class"))
    weight = (table.forecasts * belongs).sum(COUNT, skipna=False)
    return xr.Dataset(
        {
            "forecast_probability": _ratio((table.forecasts * table.probability * belongs).sum(COUNT), weight),
            "observed_frequency": _ratio((table.occurrences * belongs).sum(COUNT), weight),
            "weight": _ratio(weight, table.forecasts.sum(COUNT, skipna=False)),
        },
        {"probability_class": np.arange(number)},
    )


def class_index(members: int, classes: int) -> NDArray[np.intp]:
    """Class of the probability k / `members`, [count]; in integers, since 0.3 is 2.9999... tenths in floating point."""
    return np.minimum(np.arange(members + 1) * classes // members, classes - 1)


def roc(table: Tables) -> Roc:
    """Relative operating characteristic with all M + 2 thresholds; NaN where the event always or never occurred."""
    hits = _warned(table.occurrences)
    alarms = _warned(table.forecasts - table.occurrences)
    return Roc(*(_ratio(part, part.isel(threshold=-1)) for part in (hits, alarms)))


def roc_area(table: Tables) -> xr.DataArray:
    """Area below the ROC by trapezoids, 0.5 without skill: the Mann-Whitney probability, ties counted half."""
    hit, alarm = roc(table)
    steps = alarm.diff("threshold", label="lower")
    middle = (hit + hit.shift(threshold=-1)).isel(threshold=slice(0, -1)) / 2
    return (middle.drop_vars("threshold") * steps.drop_vars("threshold")).sum("threshold", skipna=False)


def relative_value(table: Tables, cost_loss: NDArray[np.floating]) -> xr.DataArray:
    """Economic value of the best threshold at each cost / loss ratio, [..., cost_loss]; 1 is perfect, 0 climatology.

    V = (min(a, s) - F (1-s) a + H s (1-a) - s) / (min(a, s) - a s), s the base rate of the sample, the largest over all
    thresholds, never and always among them: never negative. NaN where the event always or never occurred. Raises
    ValueError for ratios outside of 0..1, both excluded.
    """
    ratios = np.asarray(cost_loss, dtype=np.float64)
    if not np.all((ratios > 0) & (ratios < 1)):
        raise ValueError(f"cost / loss ratios lie between 0 and 1, got {ratios}; nobody else has a choice to make")
    a = xr.DataArray(ratios, {"cost_loss": ratios}, "cost_loss")
    hit, alarm = roc(table)
    s = table.base_rate
    least = xr.ufuncs.minimum(a, s)
    saved = least - alarm * (1 - s) * a + hit * s * (1 - a) - s
    return _ratio(saved, least - a * s).max("threshold", skipna=False)


def _warned(weights: xr.DataArray) -> xr.DataArray:
    """Weight of the cases with at least j members, [..., threshold], for j = M+1 down to 0."""
    downward = (
        weights.isel({COUNT: slice(None, None, -1)}).cumsum(COUNT, skipna=False).drop_vars(COUNT, errors="ignore")
    )
    padded = downward.pad({COUNT: (1, 0)}, constant_values=0.0).rename({COUNT: "threshold"})
    return padded.assign_coords(threshold=np.arange(weights.sizes[COUNT], -1, -1))


def _ratio(part: xr.DataArray, whole: xr.DataArray) -> xr.DataArray:
    return part / whole.where(whole != 0)
