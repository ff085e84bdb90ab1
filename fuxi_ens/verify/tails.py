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
    limits = {name: xr.DataArray(limit) for name, limit in (("min", lower), ("max", upper)) if limit is not None}
    if not limits:
        raise ValueError("a threshold-weighted CRPS needs lower or upper; without both it is the CRPS (scores.crps)")
    xr.align(truth, *limits.values(), join="exact", copy=False)
    limits = {name: limit.astype(truth.dtype) for name, limit in limits.items()}
    result = crps(forecast.clip(**limits), truth.clip(**limits), estimator, alpha)
    return result.rename("threshold_weighted_crps")
