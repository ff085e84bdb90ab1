"""Rank histograms and numbers made of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.pooling import pooled_sum
from fuxi_ens.verify.systems import ENSEMBLES, Role


class Ranks(Family):
    """`outlier_fraction`, `rank_reliability_index`, from weighted counts of the truth's rank 0..M (verification.md 8).

    A truth equal to e members shares its count over e + 1 ranks.
    """

    name = "ranks"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({"rank_counts": ("rank",)})
    # The members of a climatology vary in number, and persistence has one.
    roles: ClassVar[frozenset[Role]] = ENSEMBLES

    def coordinates(self, members: int) -> Mapping[str, NDArray[Any]]:
        """Ranks 0 to M."""
        return {"rank": np.arange(members + 1)}

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Histograms [region, rank]."""
        points = block.points
        return {"rank_counts": block.areas.rank_counts(points.below, points.equal, block.valid, block.members)}

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Share of truths outside of the ensemble, and how far the histogram is from flat."""
        counts = pooled_sum(data["rank_counts"], data["weight"])
        total = counts.sum("rank", skipna=False)
        share = counts / total.where(total > 0)
        return {
            "outlier_fraction": share.isel(rank=0) + share.isel(rank=-1),
            "rank_reliability_index": abs(share - 1.0 / share.sizes["rank"]).sum("rank", skipna=False),
        }
