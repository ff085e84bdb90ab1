"""Scores per point on named dimensions, NumPy or Dask behind them; members lie along `number`.

Every function is elementwise in all other dimensions: nothing is averaged unless its docstring says so. NaN
in any member or in the truth gives NaN; nothing is skipped. Dask input needs all members in one chunk and
stays lazy. Coordinates of forecast and truth must be equal, or xarray raises ValueError. The definitions are
those of verification.md, sections 4 (CRPS), 7 (spread and skill), 8 (ranks) and 9 (events).
"""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import properscoring
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.config import ALMOST_FAIR_ALPHA, Estimator
from fuxi_ens.cores import available_cores
from fuxi_ens.verify import points
from fuxi_ens.verify.kernel import LEAST_POINTS

MEMBER: Final = "number"

Engine = Literal["compiled", "sorted", "properscoring"]


def crps(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    estimator: Estimator = "fair",
    alpha: float = ALMOST_FAIR_ALPHA,
    engine: Engine = "compiled",
) -> xr.DataArray:
    """Continuous ranked probability score of an ensemble, reduces `number`, in the units of the forecast.

    CRPS = mean|x_i - y| - (1 - epsilon) / (2 M (M-1)) sum|x_i - x_j| with epsilon = 0 for "fair" (Ferro
    2014), 1/M for "standard" (the empirical distribution; Zamo & Naveau 2018) and (1-alpha)/M for
    "almost_fair". The attributes of the result name the estimator and the members. "compiled" takes float32 fields
    through one pass of machine code (`kernel`), fastest with members before latitude and longitude in memory, and
    everything else the way of "sorted", which is NumPy. Raises ValueError for one member, unless the estimator is
    "standard" (then it is the absolute error), and for properscoring with another estimator.
    """
    members = _members(forecast, truth)
    if engine == "compiled":
        compiled = partial(
            _compiled,
            share=_share_of_difference(members, estimator, alpha),
            threads=available_cores() if forecast.chunks is None else 1,
        )
        result = _apply(compiled, forecast, truth, np.result_type(forecast.dtype, truth.dtype, np.float32))
    elif engine == "properscoring":
        if estimator != "standard":
            raise ValueError(f"properscoring computes the standard CRPS only, got {estimator!r}; use engine='sorted'")
        result = _apply(_properscoring, forecast, truth, np.dtype(np.float64))
    else:
        error, difference = crps_terms(forecast, truth)
        result = combine_crps_terms(error, difference, members, estimator, alpha)
    result.attrs = {"estimator": estimator, "members": members}
    return result.rename("crps")


def crps_terms(forecast: xr.DataArray, truth: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean |x_i - y|, and half the mean |x_i - x_j| over i != j: the parts of every CRPS, reduce `number`.

    The second is 0 for one member. Computed from sorted x - y in O(M log M) (verification.md 4.2): shifting
    by the truth first keeps float32 geopotential accurate to 3e-7 instead of 5e-4.
    """
    _members(forecast, truth)
    dtype = np.result_type(forecast.dtype, truth.dtype, np.float32)
    error, difference = xr.apply_ufunc(
        _sorted_terms,
        forecast,
        truth,
        input_core_dims=[[MEMBER], []],
        output_core_dims=[[], []],
        join="exact",
        dask="parallelized",
        output_dtypes=[dtype, dtype],
    )
    return error, difference


def combine_crps_terms(
    error: xr.DataArray, difference: xr.DataArray, members: int, estimator: Estimator, alpha: float = ALMOST_FAIR_ALPHA
) -> xr.DataArray:
    """CRPS from the two results of `crps_terms`. Raises ValueError where the estimator needs two members."""
    return error - _share_of_difference(members, estimator, alpha) * difference


def _share_of_difference(members: int, estimator: Estimator, alpha: float) -> float:
    if members < 2 and estimator != "standard":
        raise ValueError(f"the {estimator} CRPS needs at least 2 members, got {members}; use estimator='standard'")
    return 1.0 - {"fair": 0.0, "standard": 1.0 / members, "almost_fair": (1.0 - alpha) / members}[estimator]


def error_of_mean(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Ensemble mean minus truth, reduces `number`; its average is the bias. Units of the forecast."""
    _members(forecast, truth)
    # Members are shifted before they are averaged, so that float32 sums stay small.
    return (forecast - truth).mean(MEMBER, skipna=False)


def squared_error_of_mean(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """(ensemble mean - truth)**2, reduces `number`. RMSE is the root of its average, taken last."""
    return error_of_mean(forecast, truth) ** 2


def absolute_error_of_mean(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """|ensemble mean - truth|, reduces `number`."""
    return abs(error_of_mean(forecast, truth))


def variance(forecast: xr.DataArray) -> xr.DataArray:
    """Unbiased ensemble variance (divisor M - 1), reduces `number`; NaN for one member.

    Spread is the root of its average, never the average of standard deviations.
    """
    first = forecast.isel({MEMBER: 0}, drop=True)
    if forecast.sizes[MEMBER] < 2:
        return first * np.nan
    return (forecast - first).var(MEMBER, ddof=1, skipna=False)


def spread_skill_ratio(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    weights: xr.DataArray | None = None,
    dims: Sequence[Hashable] | None = None,
) -> xr.DataArray:
    """Spread over RMSE of the ensemble mean, times sqrt((M+1)/M) for finite ensembles (Fortin 2014).

    Its expectation is 1 for members exchangeable with the truth. Reduces `number` and `dims` (None: all
    others) by means weighted with `weights` (None: equal) before the roots.
    """
    weights = xr.ones_like(truth) if weights is None else weights
    members = _members(forecast, truth, weights)
    squared_error = squared_error_of_mean(forecast, truth)
    skill = squared_error.weighted(weights).mean(dims, skipna=False)
    spread = variance(forecast).weighted(weights).mean(dims, skipna=False)
    result: xr.DataArray = xr.ufuncs.sqrt((members + 1) / members * spread / skill)
    result.attrs = {"members": members}
    return result.rename("spread_skill_ratio")


def rank_histogram(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    weights: xr.DataArray | None = None,
    dims: Sequence[Hashable] | None = None,
) -> xr.DataArray:
    """Weighted counts of the truth's rank 0..M among the members, [..., rank], sums over `number` and `dims`.

    `dims` None sums over all dimensions of the truth. A truth equal to e members adds 1/(e+1) to each
    possible rank: the expectation of random tie-breaking, without randomness. Points of weight 0 are left
    out, even if NaN; NaN at any other point makes the whole histogram NaN.
    """
    weights = xr.ones_like(truth, dtype=np.float64) if weights is None else weights
    members = _members(forecast, truth, weights)
    summed = list(truth.dims if dims is None else dims)
    result: xr.DataArray = xr.apply_ufunc(
        _rank_counts,
        forecast,
        truth,
        weights.broadcast_like(truth),
        input_core_dims=[[*summed, MEMBER], summed, summed],
        output_core_dims=[["rank"]],
        join="exact",
        dask="parallelized",
        output_dtypes=[np.float64],
        kwargs={"summed": len(summed)},
        dask_gufunc_kwargs={"output_sizes": {"rank": members + 1}},
    )
    result.attrs = {"members": members}
    return result.assign_coords(rank=np.arange(members + 1)).rename("rank_histogram")


def brier(
    forecast: xr.DataArray, truth: xr.DataArray, threshold: float | xr.DataArray, fair: bool = True
) -> xr.DataArray:
    """Brier score of the event `value > threshold` (strict), reduces `number`; no units.

    (p - o)**2 with p the fraction of members in the event; `fair` subtracts p(1-p)/(M-1) (Ferro 2014). A NaN
    threshold gives NaN. Raises ValueError for the fair score of one member.
    """
    limit = xr.DataArray(threshold)
    members = _members(forecast, truth, limit)
    if fair and members < 2:
        raise ValueError(f"the fair Brier score needs at least 2 members, got {members}; use fair=False")
    probability = (forecast > limit).mean(MEMBER)
    score = (probability - (truth > limit)) ** 2
    if fair:
        score = score - probability * (1.0 - probability) / (members - 1)
    known = forecast.notnull().all(MEMBER) & truth.notnull() & limit.notnull()
    result = score.where(known)
    result.attrs = {"estimator": "fair" if fair else "standard", "members": members}
    return result.rename("brier")


def _members(forecast: xr.DataArray, *others: xr.DataArray) -> int:
    """Ensemble size. Raises ValueError for misplaced members and for unequal coordinates."""
    truth = others[0]
    if MEMBER not in forecast.dims or MEMBER in truth.dims:
        raise ValueError(
            f"members lie along {MEMBER!r}, in the forecast only: got a forecast with {forecast.dims} and "
            f"a truth with {truth.dims}; rename or select first"
        )
    # Arithmetic on unequal coordinates would silently keep what they share.
    xr.align(forecast, *others, join="exact", copy=False)
    return int(forecast.sizes[MEMBER])


def _apply(function: Any, forecast: xr.DataArray, truth: xr.DataArray, dtype: np.dtype[Any]) -> xr.DataArray:
    result: xr.DataArray = xr.apply_ufunc(
        function,
        forecast,
        truth,
        input_core_dims=[[MEMBER], []],
        join="exact",
        dask="parallelized",
        output_dtypes=[dtype],
    )
    return result


def _compiled(members: NDArray[Any], truth: NDArray[Any], share: float, threads: int) -> NDArray[Any]:
    """CRPS of `members` [..., M] and `truth` [...]; `share` is the part of the difference that is subtracted."""
    if members.dtype != np.float32 or truth.dtype != np.float32 or truth.size < LEAST_POINTS:
        error, difference = _sorted_terms(members, truth)
        return error - share * difference
    # xarray moved the members last in a view; back where the store has them, nothing is copied.
    fields = np.moveaxis(members, -1, 0).reshape(members.shape[-1], 1, truth.size)
    return points.crps(fields, truth.reshape(1, -1), share, threads).reshape(truth.shape)


def _sorted_terms(members: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two CRPS terms of `members` [..., M] and `truth` [...]."""
    dtype = np.result_type(members, truth, np.float32)
    shifted = np.moveaxis(np.subtract(members, truth[..., None], dtype=dtype), -1, 0)
    count = len(shifted)
    error = np.abs(shifted).mean(axis=0)
    shifted.sort(axis=0)
    # sum_ij |x_i - x_j| = 2 sum_k (2k - M + 1) x_(k), k = 0..M-1: x_(k) is the larger one k times.
    factor = (2 * np.arange(count) - count + 1) / max(count * (count - 1), 1)
    return error, np.einsum("m,m...->...", factor.astype(dtype), shifted)


def _properscoring(members: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    scores = properscoring.crps_ensemble(truth, members)
    # properscoring drops NaN members silently; a score of fewer members than asked for is wrong.
    return np.where(np.isnan(members).any(axis=-1), np.nan, scores)


def _rank_counts(members: NDArray[Any], truth: NDArray[Any], weights: NDArray[Any], summed: int) -> NDArray[np.float64]:
    """Histograms [..., M+1] of `members` [..., points..., M]; points: the `summed` last axes of `truth`."""
    slots = members.shape[-1] + 1
    below = np.sum(members < truth[..., None], axis=-1)
    ties = np.sum(members == truth[..., None], axis=-1)
    unknown = (np.isnan(members).any(axis=-1) | np.isnan(truth)) & (weights != 0)
    share = np.where(unknown, np.nan, weights) / (ties + 1)
    kept = below.shape[: below.ndim - summed]
    histograms = int(np.prod(kept))
    bin_index = slots * np.arange(histograms)[:, None] + below.reshape(histograms, -1)
    share, ties = share.reshape(histograms, -1), ties.reshape(histograms, -1)
    counts = np.zeros(histograms * slots)
    for offset in range(int(ties.max(initial=0)) + 1):
        tied = ties >= offset
        counts += np.bincount(bin_index[tied] + offset, share[tied], counts.size)
    # A NaN share poisons its own bins only; the sum over ranks carries it to the whole histogram.
    result = counts.reshape(*kept, slots)
    return np.where(np.isnan(result.sum(axis=-1, keepdims=True)), np.nan, result)
