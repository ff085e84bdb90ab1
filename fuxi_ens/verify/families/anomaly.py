"""Anomaly correlation and activity (verification.md 6)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.grid import Float
from fuxi_ens.verify.anomalies import PRODUCTS, anomaly_products, correlation
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family, climatology_of
from fuxi_ens.verify.pooling import mean_of_maps, pooled_mean


class Anomalies(Family):
    """`acc`, `acc_pooled`, `acc_centered`, and the `activity` of mean, members and truth."""

    name = "anomaly"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(dict.fromkeys(PRODUCTS, ()))
    needs_climatology = True

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Sums of `anomalies.PRODUCTS`."""
        products = anomaly_products(
            _map(block.points.error),
            _map(block.truth),
            _map(climatology_of(block).mean()),
            _map(block.points.variance),
            block.members,
        )
        return {name: block.regional(product.to_numpy()) for name, product in products.items()}

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Correlations of maps averaged over init times, the pooled one, and roots of mean squares."""
        weight = data["weight"]
        maps = {name: data[name] / weight for name in PRODUCTS}
        pooled = {name: pooled_mean(data[name], weight) for name in PRODUCTS}
        activities = {"": "forecast", "_members": "members", "_truth": "truth"}
        return {
            "acc": mean_of_maps(correlation(maps), weight),
            "acc_pooled": correlation(pooled),
            "acc_centered": mean_of_maps(correlation(maps, centered=True), weight),
            **{
                f"activity{suffix}": xr.ufuncs.sqrt(pooled[f"anomaly_{part}_squared"])
                for suffix, part in activities.items()
            },
        }


def _map(field: NDArray[np.floating]) -> xr.DataArray:
    return xr.DataArray(field, dims=("latitude", "longitude"))
