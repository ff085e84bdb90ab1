"""CRPS, ensemble mean and spread: what every scorecard has."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

import xarray as xr

from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.pooling import crps_sums, pooled_mean

STATISTICS: Final = (
    "crps_fair",
    "crps_standard",
    "squared_error_of_mean",
    "variance",
    "error_of_mean",
    "absolute_error_of_mean",
)
"""Point statistics; `crps_fair` and `variance` are NaN for one member."""


class EnsembleScores(Family):
    """`crps`, `rmse`, `bias`, `mae` of the ensemble mean, `spread`, `spread_skill_ratio`."""

    name = "ensemble"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(dict.fromkeys(STATISTICS, ()))

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Sums of `STATISTICS`."""
        sums = block.points.sums_of_averages(block.areas, block.valid)
        return dict(zip(STATISTICS, sums, strict=True))

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Averages first, then roots and ratios (verification.md 6, 7)."""
        weight = data["weight"]
        mean = {name: pooled_mean(data[name], weight) for name in STATISTICS}
        rmse = xr.ufuncs.sqrt(mean["squared_error_of_mean"])
        result: dict[str, xr.DataArray] = {
            "crps": pooled_mean(crps_sums(data), weight),
            "rmse": rmse,
            "bias": mean["error_of_mean"],
            "mae": mean["absolute_error_of_mean"],
        }
        if data["members"].max() > 1:
            # Inflated per pair, because a climatology has fewer members near the edges of its periods.
            inflated = data["variance"] * (data["members"] + 1) / data["members"]
            result["spread"] = xr.ufuncs.sqrt(mean["variance"])
            result["spread_skill_ratio"] = xr.ufuncs.sqrt(pooled_mean(inflated, weight)) / rmse
        return result
