"""Energy and variogram score of whole maps (verification.md 11.2, 11.3)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import xarray as xr

from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.multivariate import energy_scores, variogram_scores
from fuxi_ens.verify.pooling import by_estimator, pooled_mean
from fuxi_ens.verify.systems import ENSEMBLES, Role


class Multivariate(Family):
    """`energy_score` and `variogram_score`, of the estimator of the configuration."""

    name = "multivariate"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        dict.fromkeys(
            ("energy_score_fair", "energy_score_standard", "variogram_score_fair", "variogram_score_standard"), ()
        )
    )
    # All pairs of a climatology's members cost more than their score is worth.
    roles: ClassVar[frozenset[Role]] = ENSEMBLES | {"single", "persistence"}

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Energy score times the weight of the region, and sums of the variogram score."""
        energy = energy_scores(block.ensemble, block.truth, block.areas, block.valid)
        variogram = variogram_scores(block.ensemble, block.truth)
        sums = (*(part * block.weight for part in energy), *(block.regional(part) for part in variogram))
        return dict(zip(self.sums, sums, strict=True))

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Means over init times."""
        return {
            score: pooled_mean(by_estimator(data[f"{score}_fair"], data[f"{score}_standard"], data), data["weight"])
            for score in ("energy_score", "variogram_score")
        }
