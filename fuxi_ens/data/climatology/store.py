"""The climatology store while it is made: metadata first, then bands by many writers, at the end its real name."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from fuxi_ens import channels as vocabulary
from fuxi_ens.data.climatology.plan import Plan, Unit
from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores.climatology import DAYS, Statistic, array_name

_IDENTITY = "climatology_identity"


class Workshop:
    """Folder of a climatology under construction: the store, markers of finished units, scratch files."""

    def __init__(self, folder: Path, plan: Plan, attributes: dict[str, Any]) -> None:
        """Create it, or open it to go on. Raises StoreError when another climatology is being made there."""
        self.folder, self.store = folder, folder / "store.zarr"
        if not (self.store / "zarr.json").exists():
            _create(self.store, plan, {**attributes, _IDENTITY: plan.identity})
        require_same(self.store, plan)

    def is_done(self, unit: Unit) -> bool:
        """Whether all bands of a unit are written."""
        return self._marker(unit).exists()

    def scratch(self, unit: Unit) -> Path:
        """The unit's folder for gathered days, created."""
        folder = self.folder / "scratch" / unit.key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self, unit: Unit) -> None:
        """Declare a unit written, then drop its scratch files."""
        write_atomic(self._marker(unit), b"")
        shutil.rmtree(self.scratch(unit))

    def deliver(self, path: Path) -> None:
        """Give the store its name, by which it is known to be whole."""
        self.store.rename(path)
        shutil.rmtree(self.folder)

    def _marker(self, unit: Unit) -> Path:
        return self.folder / "done" / unit.key


def require_same(store: Path, plan: Plan) -> None:
    """Raise StoreError unless the climatology at this path is of the same times, channels and settings."""
    try:
        found = zarr.open_group(store, mode="r").attrs.get(_IDENTITY)
    except (OSError, KeyError, ValueError) as error:
        raise StoreError(f"{store} is no climatology ({error}); move it away") from error
    if found != plan.identity:
        raise StoreError(
            f"{store} is a climatology of other times, channels or settings; delete it, or choose another run.folder"
        )


def _create(path: Path, plan: Plan, attributes: dict[str, Any]) -> None:
    """Metadata and coordinates only, under a temporary name first; what nobody writes reads as NaN."""
    contents: dict[Statistic, tuple[str, ...]] = {
        "mean": plan.moments,
        "std": plan.moments,
        "quantile": plan.quantiles,
        "dry_fraction": plan.categories,
        "heavy_amount": plan.categories,
    }
    arrays = {
        array_name(name, statistic): _template(plan, name, statistic)
        for statistic, names in contents.items()
        for name in names
    }
    grid = LatLonGrid(plan.height, plan.width)
    coords = {
        "hour": np.array(plan.hours, np.int64),
        "dayofyear": np.arange(1, DAYS + 1, dtype=np.int64),
        "latitude": ("latitude", grid.latitude, {"units": "degrees_north", "standard_name": "latitude"}),
        "longitude": ("longitude", grid.longitude, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    dataset = xr.Dataset(arrays, coords=coords, attrs=attributes)
    encoding = {str(name): _encoding(plan, array) for name, array in dataset.data_vars.items()}
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Consolidated metadata is an extension of Zarr v3 that xarray reads, and misses loudly when it is not there.
        warnings.filterwarnings("ignore", "Consolidated metadata", category=zarr.errors.ZarrUserWarning)
        dataset.to_zarr(partial, mode="w", compute=False, zarr_format=3, consolidated=True, encoding=encoding)
    partial.rename(path)


def _template(plan: Plan, name: str, statistic: Statistic) -> xr.DataArray:
    """An array that is never computed: to_zarr(compute=False) takes its shape, type and attributes."""
    has_levels = vocabulary.channel(vocabulary.components(name)[0]).level is not None
    sizes: dict[str, int] = {"hour": len(plan.hours)}
    if statistic == "quantile":
        sizes["quantile"] = len(plan.probabilities)
    sizes["dayofyear"] = DAYS
    if has_levels:
        sizes["level"] = len(plan.levels)
    sizes |= {"latitude": plan.height, "longitude": plan.width}
    shape = tuple(sizes.values())
    unwritten: dask.array.Array = dask.array.full(shape, np.nan, dtype=np.float32, chunks=shape)
    coords: dict[str, Any] = {"level": np.array(plan.levels, np.int64)} if has_levels else {}
    if statistic == "quantile":
        coords["quantile"] = np.array(plan.probabilities)
    title = array_name(name, statistic).replace("_", " ")
    units = "1" if statistic == "dry_fraction" else vocabulary.file_units(name)
    attributes = {"units": units, "long_name": f"{title} by day of the year and hour"}
    return xr.DataArray(unwritten, dims=tuple(sizes), coords=coords, attrs=attributes)


def _encoding(plan: Plan, array: xr.DataArray) -> dict[str, Any]:
    """A chunk is a band of one field, a shard all days and quantiles of the band: one task writes it."""
    chunk = dict.fromkeys(array.dims, 1)
    chunk |= {"dayofyear": plan.days_per_chunk, "latitude": plan.band, "longitude": plan.width}
    shard = chunk | {dim: array.sizes[dim] for dim in ("quantile", "dayofyear") if dim in array.dims}
    return {
        "chunks": tuple(chunk[dim] for dim in array.dims),
        "shards": tuple(shard[dim] for dim in array.dims),
        "compressors": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        "fill_value": np.nan,
    }
