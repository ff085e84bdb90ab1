"""Further ratios of spread and skill (verification.md 7)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import xarray as xr

from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.pooling import pooled_mean


class Spread(Family):
    """`spread_skill_unbiased` and `spread_skill_absolute`."""

    name = "spread"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        dict.fromkeys(("member_absolute_error", "member_difference"), ())
    )

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Sums of mean |x_i - y| and of half the mean |x_i - x_j| over i != j."""
        points = block.points
        both = block.regional(np.stack([points.absolute_error, points.difference]))
        return dict(zip(self.sums, both, strict=True))

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Ratios of averages; none for one member."""
        if data["members"].max() < 2:
            return {}
        weight, variance = data["weight"], data["variance"]
        spread = pooled_mean(variance, weight)
        # The squared error of a mean of M members holds s2 / M that is no error of the forecast.
        skill = pooled_mean(data["squared_error_of_mean"] - variance / data["members"], weight)
        difference = 2 * pooled_mean(data["member_difference"], weight)
        return {
            "spread_skill_unbiased": xr.ufuncs.sqrt(spread / skill.where(skill > 0)),
            "spread_skill_absolute": difference / pooled_mean(data["member_absolute_error"], weight),
        }
