"""Averages over init times, from sums of weighted statistics and sums of weights."""

import xarray as xr

from fuxi_ens.config import ALMOST_FAIR_ALPHA


def pooled_mean(statistic: xr.DataArray, weight: xr.DataArray) -> xr.DataArray:
    """Pooled weighted mean over `init_time`, [name, lead_time, region, ...]; NaN without any pair."""
    used = weight.notnull()
    total = weight.sum("init_time")
    return statistic.where(used, 0.0).sum("init_time", skipna=False) / total.where(total > 0)


def crps_sums(data: xr.Dataset) -> xr.DataArray:
    """Weighted sums of the CRPS of the system's `estimator`, with the dimensions of the statistics."""
    fair, standard = data["crps_fair"], data["crps_standard"]
    plain = {"fair": fair, "standard": standard}
    name = estimator(data)
    return plain[name] if name in plain else ALMOST_FAIR_ALPHA * fair + (1 - ALMOST_FAIR_ALPHA) * standard


def estimator(data: xr.Dataset) -> str:
    """The configured estimator; of a single member only the standard one exists."""
    return str(data.attrs["estimator"]) if data["members"].max() > 1 else "standard"
