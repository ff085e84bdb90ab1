"""Dimensions of opened stores as verification calls them: init_time and lead_time, or valid_time."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import xarray as xr

from fuxi_ens.errors import StoreError
from fuxi_ens.stores import OpenStore
from fuxi_ens.stores.names import accepted

FORECAST_NAMES: Final = MappingProxyType({"time": "init_time", "prediction_timedelta": "lead_time", "number": "number"})
ANALYSIS_NAMES: Final = MappingProxyType({"time": "valid_time"})
HORIZONTAL: Final = ("latitude", "longitude")


def normalized(opened: OpenStore, names: Mapping[str, str]) -> xr.Dataset:
    """The dataset with its dimensions renamed. Raises StoreError for absent dimensions and repeated labels."""
    dataset = opened.dataset
    missing = [dim for dim in (*names, *HORIZONTAL) if dim not in dataset.dims]
    if missing:
        needed = "; ".join(accepted(dim) for dim in missing)
        raise StoreError(
            f"{opened.source} lacks the dimensions {missing}; it has {dict(dataset.sizes)}, expected WeatherBench 2. "
            f"Give it, of length 1 if need be, one that is called: {needed}"
        )
    # Forecasts of some archives carry init_time + lead_time as a further coordinate.
    dataset = dataset.drop_vars("valid_time", errors="ignore").rename(names)
    for dim in (*names.values(), *HORIZONTAL):
        if dim != "number" and not (dim in dataset.indexes and dataset.indexes[dim].is_unique):
            raise StoreError(f"{opened.source}: the coordinate {dim} is absent or holds duplicates; rewrite the store")
    return dataset
