"""Threshold-weighted CRPS: the CRPS of what lies beyond a threshold (verification.md 4.7)."""

import xarray as xr

from fuxi_ens.config import ALMOST_FAIR_ALPHA, Estimator
from fuxi_ens.verify.scores import crps


def threshold_weighted_crps(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    lower: xr.DataArray | float | None = None,
    upper: xr.DataArray | float | None = None,
    estimator: Estimator = "fair",
    alpha: float = ALMOST_FAIR_ALPHA,
) -> xr.DataArray:
    """CRPS of values clipped to [lower, upper], reduces `number`, in the units of the forecast.

    Equals the integral of the Brier score over the thresholds from `lower` to `upper` (Gneiting and Ranjan 2011; the
    chaining function of Allen et al. 2023 for the weight 1 inside, 0 outside). None leaves a side open. Limits may
    vary from point to point; a NaN limit gives NaN, as does NaN in a member or the truth. Raises ValueError without
    any limit, for limits of other coordinates, and where `crps` does.
    """
    if lower is None and upper is None:
        raise ValueError("a threshold-weighted CRPS needs lower or upper; without both it is the CRPS (scores.crps)")
    low, high = (None if limit is None else xr.DataArray(limit).astype(truth.dtype) for limit in (lower, upper))
    xr.align(truth, *(limit for limit in (low, high) if limit is not None), join="exact", copy=False)
    result = crps(forecast.clip(low, high), truth.clip(low, high), estimator, alpha)
    return result.rename("threshold_weighted_crps")
