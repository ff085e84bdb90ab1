"""SEEPS of precipitation (verification.md 12.2)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.channels import DRY_MM, PRECIPITATION, channel, components
from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family, climatology_of
from fuxi_ens.verify.pooling import pooled_sum
from fuxi_ens.verify.precipitation import has_categories, penalties


class Seeps(Family):
    """`seeps_members`, the mean of the scores of single members, and `seeps_median`, the score of the median.

    Of the ensemble mean there is none: it drizzles. All follows from how many members are dry and heavy.
    """

    name = "seeps"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        dict.fromkeys(("seeps_of_members", "seeps_of_median", "seeps_weight"), ())
    )
    needs_climatology = True

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Sums over the points whose climate has three categories, and their weight; 0 for other names."""
        if block.name not in PRECIPITATION:
            return dict.fromkeys(self.sums, np.zeros(len(block.areas.regions)))
        climate = climatology_of(block)
        dry_amount = np.float32(DRY_MM[block.name] / channel(components(block.name)[0]).variable.to_model)
        p, heavy_amount = climate.dry_fraction(), climate.heavy_amount()
        kept = block.valid & has_categories(p, heavy_amount, dry_amount)
        shares = _shares(block, dry_amount, heavy_amount)
        middle = _category_of_median(shares, block.members)
        was = (block.truth > dry_amount).astype(np.int8) + (block.truth >= heavy_amount)
        of_members, of_median = np.zeros((2, *p.shape))
        with np.errstate(divide="ignore"):
            table = penalties(p.astype(np.float64))
        for said, row in enumerate(table):
            for occurred, penalty in enumerate(row):
                # Points without categories may hold infinite penalties, and are not kept.
                here = np.where((was == occurred) & kept, penalty, 0.0)
                of_members += shares[said] / block.members * here
                of_median += (middle == said) * here
        scores = block.areas.sums(np.stack([of_members, of_median]), kept)
        return dict(zip(self.sums, (*scores, block.areas.weight(kept)), strict=True))

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Means over the points that are kept, for amounts of precipitation."""
        data = data.sel(name=data["name"].isin(PRECIPITATION))
        weight = pooled_sum(data["seeps_weight"], data["weight"])
        return {
            score: pooled_sum(data[sums], data["weight"]) / weight.where(weight > 0)
            for score, sums in (("seeps_members", "seeps_of_members"), ("seeps_median", "seeps_of_median"))
        }


def _shares(block: Block, dry_amount: np.float32, heavy_amount: NDArray[np.float32]) -> NDArray[np.int32]:
    """Members that are dry, light and heavy, [3, latitude, longitude]."""
    # At least the heavy amount is more than the number before it.
    before = np.nextafter(heavy_amount, np.float32(-np.inf))
    wet, heavy = block.counts_above(np.stack([np.full_like(before, dry_amount), before]))
    return np.stack([block.members - wet, wet - heavy, heavy])


def _category_of_median(shares: NDArray[np.int32], members: int) -> NDArray[np.int8]:
    """Of the member in the middle, of two the smaller: the first category that half of the members do not exceed."""
    reached = np.cumsum(shares, axis=0) * 2 >= members
    return np.asarray(np.argmax(reached, axis=0), np.int8)
