"""The six static fields: orography, land-sea mask, and the position as sines and cosines (model.md 1.5, default 1)."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens import channels as vocabulary
from fuxi_ens.data.era5 import Frames, oriented
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.stores import open_zarr


def static_fields(store: str, grid: LatLonGrid) -> Frames:
    """[6, latitude, longitude] float32: orography (area mean 0, std 1), land-sea mask, sin/cos lat, sin/cos lon."""
    dataset = open_zarr(store)
    orography = _field(dataset, vocabulary.STATIC_OROGRAPHY, store, grid)
    land = _field(dataset, vocabulary.STATIC_LAND_SEA_MASK, store, grid)
    weights = area_weights(grid.latitude)[:, None]
    anomaly = orography - np.mean(orography * weights)
    anomaly /= np.sqrt(np.mean(anomaly**2 * weights))
    latitude, longitude = np.meshgrid(np.deg2rad(grid.latitude), np.deg2rad(grid.longitude), indexing="ij")
    position = [np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)]
    return np.stack([anomaly, land, *position]).astype(np.float32)


def _field(dataset: xr.Dataset, name: str, store: str, grid: LatLonGrid) -> NDArray[np.float64]:
    if name not in dataset:
        raise StoreError(f"{store} lacks the static field {name!r}; name a store that has it in data.static_store")
    array = oriented(dataset[[name]], grid, store)[name]
    if "time" in array.dims:
        array = array.isel(time=0)
    return array.transpose("latitude", "longitude").values.astype(np.float64)
