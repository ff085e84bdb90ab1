"""Opening Zarr stores, wherever they are: a local path, a public bucket, or a file shipped with the package."""

import warnings

import numpy as np
import xarray as xr

from fuxi_ens.assets import resolve
from fuxi_ens.errors import StoreError

# The public buckets of WeatherBench 2 and ARCO-ERA5 are read without an account.
_ANONYMOUS = {"gs": {"token": "anon"}, "s3": {"anon": True}}
_ALIASES = {"lat": "latitude", "lon": "longitude", "isobaricInhPa": "level", "valid_time": "time"}


def open_zarr(store: str, *, dask: bool = False) -> xr.Dataset:
    """Open a store (Zarr v2 or v3; path, URL, or asset:NAME) lazily, with WeatherBench 2's names of the dims.

    Without `dask` every access reads at once: right inside a loader or a task, where chunks would be scheduled twice.
    Raises StoreError when the store cannot be opened.
    """
    path = resolve(store)
    options = _ANONYMOUS.get(path.partition("://")[0])
    try:
        with warnings.catch_warnings():
            # A store without consolidated metadata opens more slowly and is otherwise as good.
            warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated", RuntimeWarning)
            dataset = xr.open_zarr(path, chunks={} if dask else None, decode_timedelta=True, storage_options=options)
    except ImportError as error:
        raise StoreError(f"{store} needs a file system library: pip install 'fuxi-ens[cloud]' ({error})") from error
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"cannot open {store} as a Zarr store ({error}); check the path in the config") from error
    renamed: xr.Dataset = dataset.rename({old: new for old, new in _ALIASES.items() if old in dataset.dims})
    return renamed


def north_to_south(dataset: xr.Dataset) -> xr.Dataset:
    """Latitude 90..-90, longitude eastward from 0; by slices where possible, which read faster than index arrays."""
    dataset = dataset.assign_coords(longitude=dataset["longitude"] % 360.0)
    if np.any(np.diff(dataset["longitude"]) < 0):
        dataset = dataset.sortby("longitude")
    if dataset["latitude"][0] < dataset["latitude"][-1]:
        dataset = dataset.isel(latitude=slice(None, None, -1))
    return dataset
