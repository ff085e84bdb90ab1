"""Scores of the wind vector, beside those of its speed (verification.md 12)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import xarray as xr

from fuxi_ens.channels import DERIVED_SPEED
from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.pooling import by_estimator, pooled_mean
from fuxi_ens.verify.wind import vector_terms


class VectorWind(Family):
    """`crps_vector`, `rmse_vector` and `spread_vector` in the rows of wind speeds."""

    name = "wind"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        dict.fromkeys(
            ("crps_vector_fair", "crps_vector_standard", "squared_vector_error_of_mean", "vector_variance"), ()
        )
    )
    needs_components = True

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Sums of the vector CRPS, the squared error of the mean vector and its variance; NaN but for wind speeds."""
        if block.components is None:
            return dict.fromkeys(self.sums, np.full(len(block.areas.regions), np.nan))
        u, v = block.components
        members_last = [np.moveaxis(part.ensemble, 0, -1) for part in (u, v)]
        error, difference = vector_terms(members_last[0], members_last[1], u.truth, v.truth)
        fair = error - difference if block.members > 1 else np.full_like(error, np.nan)
        standard = error - (1.0 - 1.0 / block.members) * difference
        squared = u.points.error**2 + v.points.error**2
        points = (fair, standard, squared, u.points.variance + v.points.variance)
        return {name: block.regional(part) for name, part in zip(self.sums, points, strict=True)}

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Averages, then roots, for wind speeds only."""
        data = data.sel(name=data["name"].isin(list(DERIVED_SPEED)))
        weight = data["weight"]
        crps = by_estimator(data["crps_vector_fair"], data["crps_vector_standard"], data)
        mean = {
            "rmse_vector": pooled_mean(data["squared_vector_error_of_mean"], weight),
            "spread_vector": pooled_mean(data["vector_variance"], weight),
        }
        if data["members"].max() < 2:
            del mean["spread_vector"]
        return {
            "crps_vector": pooled_mean(crps, weight),
            **{name: xr.ufuncs.sqrt(part) for name, part in mean.items()},
        }
