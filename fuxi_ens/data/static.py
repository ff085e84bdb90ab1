"""The six static fields: orography, land-sea mask, and the position as sines and cosines (model.md 1.5, default 1)."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens import channels as vocabulary
from fuxi_ens.data.era5 import Frames, require_grid
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.stores import open_store


def static_fields(store: str, grid: LatLonGrid) -> Frames:
    """[6, latitude, longitude] float32: orography (area mean 0, std 1), land-sea mask, sin/cos lat, sin/cos lon."""
    dataset = open_store(store).dataset
    require_grid(dataset, grid, store)
    orography = read_static(dataset, vocabulary.STATIC_OROGRAPHY, store)
    land = read_static(dataset, vocabulary.STATIC_LAND_SEA_MASK, store)
    weights = area_weights(grid.latitude)[:, None]
    anomaly = orography - np.mean(orography * weights)
    relief = np.sqrt(np.mean(anomaly**2 * weights))
    if relief == 0.0:
        raise StoreError(f"{store}: {vocabulary.STATIC_OROGRAPHY!r} is the same everywhere; name another static_store")
    anomaly /= relief
    latitude, longitude = np.meshgrid(np.deg2rad(grid.latitude), np.deg2rad(grid.longitude), indexing="ij")
    position = [np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)]
    return np.stack([anomaly, land, *position]).astype(np.float32)


def read_static(dataset: xr.Dataset, name: str, store: str) -> NDArray[np.float64]:
    """One static field, [latitude, longitude] in file units. Raises StoreError when it is absent or has gaps."""
    if name not in dataset:
        raise StoreError(f"{store} lacks the static field {name!r}; name a store that has it in data.static_store")
    array = dataset[name]
    # Some stores repeat static fields in time, and their time axis begins before or ends after the data.
    times = (0, array.sizes["time"] // 2, -1) if "time" in array.dims else (None,)
    for time in times:
        field = array if time is None else array.isel(time=time)
        values: NDArray[np.float64] = field.transpose("latitude", "longitude").values.astype(np.float64)
        if np.isfinite(values).all():
            return values
    raise StoreError(f"{store}: the static field {name!r} has missing values; name another data.static_store")
