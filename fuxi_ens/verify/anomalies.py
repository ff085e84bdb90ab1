"""Anomaly correlation and activity from products of anomalies (verification.md 6).

Anomalies are differences from the climatology of the valid time: a of the ensemble mean, b of the truth. Their
products add over points, times and chunks; correlations and roots are made of the sums.
"""

from collections.abc import Mapping
from typing import Final

import xarray as xr

PRODUCTS: Final = (
    "anomaly_product",
    "anomaly_forecast_squared",
    "anomaly_truth_squared",
    "anomaly_forecast",
    "anomaly_truth",
    "anomaly_members_squared",
)
"""Averages of a b, a^2, b^2, a, b, and over the members of (x_i - c)^2."""


def anomaly_products(
    error: xr.DataArray, truth: xr.DataArray, climatology: xr.DataArray, variance: xr.DataArray, members: int
) -> dict[str, xr.DataArray]:
    """`PRODUCTS` per point, elementwise, NaN where any input is NaN; units of the forecast or their square.

    `error` is the ensemble mean minus the truth, `variance` that of the members with divisor M - 1 (for one member it
    is not used). The mean is rebuilt from its error, so that float32 geopotential keeps its digits. Raises ValueError
    for unequal coordinates.
    """
    error, truth, climatology = xr.align(error, truth, climatology, join="exact", copy=False)
    b = truth - climatology
    a = error + b
    # mean (x_i - c)^2 = (mean x_i - c)^2 + the variance with divisor M.
    spread = variance * ((members - 1) / members) if members > 1 else 0.0
    return {
        "anomaly_product": a * b,
        "anomaly_forecast_squared": a**2,
        "anomaly_truth_squared": b**2,
        "anomaly_forecast": a,
        "anomaly_truth": b,
        "anomaly_members_squared": a**2 + spread,
    }


def correlation(mean: Mapping[str, xr.DataArray], centered: bool = False) -> xr.DataArray:
    """Correlation of anomalies from averages of `PRODUCTS`, elementwise; NaN for anomalies that are all zero.

    Uncentered: mean(a b) / sqrt(mean(a^2) mean(b^2)). `centered` subtracts the averages of a and b first. Averages
    over area give the correlation of one map, averages over area and time the pooled one.
    """
    product, forecast, truth = (mean[name] for name in PRODUCTS[:3])
    if centered:
        a, b = mean["anomaly_forecast"], mean["anomaly_truth"]
        product, forecast, truth = product - a * b, forecast - a**2, truth - b**2
    scale = xr.ufuncs.sqrt(forecast.clip(min=0.0) * truth.clip(min=0.0))
    result: xr.DataArray = product / scale.where(scale > 0)
    return result
