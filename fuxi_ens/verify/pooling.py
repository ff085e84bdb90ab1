"""Averages over init times, from sums of weighted statistics and sums of weights."""

import xarray as xr

from fuxi_ens.config import ALMOST_FAIR_ALPHA


def pooled_mean(statistic: xr.DataArray, weight: xr.DataArray) -> xr.DataArray:
    """Pooled weighted mean over `init_time`, [name, lead_time, region, ...]; NaN without any pair."""
    total = weight.sum("init_time")
    return pooled_sum(statistic, weight) / total.where(total > 0)


def pooled_sum(statistic: xr.DataArray, weight: xr.DataArray) -> xr.DataArray:
    """Sum over `init_time` of the pairs there are; NaN in any of them gives NaN."""
    return statistic.where(weight.notnull(), 0.0).sum("init_time", skipna=False)


def mean_of_maps(score: xr.DataArray, weight: xr.DataArray) -> xr.DataArray:
    """Mean over `init_time` of scores of single maps, each counted once; NaN without any pair."""
    return pooled_mean(score, xr.ones_like(weight).where(weight.notnull()))


def crps_sums(data: xr.Dataset) -> xr.DataArray:
    """Weighted sums of the CRPS of the system's `estimator`, with the dimensions of the statistics."""
    return by_estimator(data["crps_fair"], data["crps_standard"], data)


def by_estimator(fair: xr.DataArray, standard: xr.DataArray, data: xr.Dataset) -> xr.DataArray:
    """The score of the system's `estimator`, of which almost fair is a mixture of the two others."""
    plain = {"fair": fair, "standard": standard}
    name = estimator(data)
    return plain[name] if name in plain else ALMOST_FAIR_ALPHA * fair + (1 - ALMOST_FAIR_ALPHA) * standard


def estimator(data: xr.Dataset) -> str:
    """The configured estimator; of a single member only the standard one exists."""
    return str(data.attrs["estimator"]) if data["members"].max() > 1 else "standard"
