"""The ensemble store: WeatherBench 2 names and dims, Zarr v3, one shard per variable, init time and run of lead times.

A shard holds all members, so it has exactly one writer; several processes may write different init times of one store.
An init time counts as written only when its marker exists; the marker is created after all its data, inside the store,
so that it cannot outlive it. A run that was killed redoes the unmarked init times, with equal results.
"""

import errno
import shutil
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from fuxi_ens import channels as vocabulary
from fuxi_ens.data.era5 import Frames
from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import Leads, Times, label

_DIMS = ("time", "number", "prediction_timedelta", "latitude", "longitude")
_LEVEL_DIMS = (*_DIMS[:3], "level", *_DIMS[3:])
_MARKERS = ".complete"
_IDENTITY = ("config_hash", "weights_hash", "analysis_store")


@dataclass(frozen=True)
class Layout:
    """Coordinates of a forecast store."""

    init_times: Times
    members: int
    lead_times: Leads
    channels: tuple[str, ...]
    grid: LatLonGrid
    leads_per_shard: int


class ForecastStore:
    """A store under construction."""

    def __init__(self, path: Path, layout: Layout, channels_in: tuple[str, ...], provenance: dict[str, Any]) -> None:
        """Create the store, or open it to go on; `channels_in` is the channel order of the frames to be written.

        Raises StoreError when another forecast is already there.
        """
        self._path, self._layout = path, layout
        self._targets = _targets(layout, channels_in)
        attributes = {**provenance, "Conventions": "CF-1.11", "product": "ensemble forecast"}
        if not (path / "zarr.json").exists():
            _create(path, layout, attributes)
        self._check_identity(attributes)
        self._arrays = zarr.open_group(path, mode="r+")

    def is_complete(self, init_time: np.datetime64) -> bool:
        """Whether everything of this init time is on disk."""
        return is_complete(self._path, init_time)

    def write(self, init_time: np.datetime64, first_lead: int, frames_MLCHW: Frames) -> None:
        """Write consecutive lead times of all members, model units in, file units on disk."""
        row = int(np.flatnonzero(self._layout.init_times == init_time)[0])
        leads = slice(first_lead, first_lead + frames_MLCHW.shape[1])
        for name, target in self._targets.items():
            array = self._arrays[name]
            assert isinstance(array, zarr.Array)
            array[row, :, leads] = target.select(frames_MLCHW)

    def mark_complete(self, init_time: np.datetime64) -> None:
        """Declare an init time finished."""
        write_atomic(_marker(self._path, init_time), b"")

    def _check_identity(self, attributes: dict[str, Any]) -> None:
        """The store must be this forecast: same settings, same weights, same coordinates.

        Versions of libraries may differ: an upgrade in the middle of a long run is the user's decision.
        """
        try:
            with xr.open_zarr(self._path, chunks=None) as found:
                same = (
                    np.array_equal(found["time"].values.astype("datetime64[ns]"), self._layout.init_times)
                    and found.sizes["number"] == self._layout.members
                    and found.sizes["prediction_timedelta"] == len(self._layout.lead_times)
                    and all(found.attrs.get(key) == attributes.get(key) for key in _IDENTITY)
                )
        except (KeyError, ValueError, OSError) as error:
            raise StoreError(f"{self._path} is not a forecast store ({error}); move it away") from error
        if not same:
            raise StoreError(
                f"{self._path} holds another forecast (other model, settings, init times or members); "
                "delete it, or choose another run.folder"
            )


def is_complete(store: Path, init_time: np.datetime64) -> bool:
    """Whether the forecast from `init_time` is wholly in the store at this path."""
    return (store / "zarr.json").exists() and _marker(store, init_time).exists()


def _marker(store: Path, init_time: np.datetime64) -> Path:
    return store / _MARKERS / label(init_time)


@dataclass(frozen=True)
class _Target:
    """How one array on disk is filled from frames."""

    columns: list[int | None]
    """Column of each level in the frames; None for a level that is not written."""
    to_model: float
    has_levels: bool

    def select(self, frames_MLCHW: Frames) -> Frames:
        """[member, lead, (level,) latitude, longitude] in file units."""
        parts = [
            np.full_like(frames_MLCHW[:, :, 0], np.nan) if c is None else frames_MLCHW[:, :, c] for c in self.columns
        ]
        values = np.stack(parts, axis=2) / np.float32(self.to_model)
        return values if self.has_levels else values[:, :, 0]


def _targets(layout: Layout, channels_in: tuple[str, ...]) -> dict[str, _Target]:
    targets = {}
    for variable, members in _variables(layout.channels):
        column = {c.level: channels_in.index(c.name) for c in members}
        levels = [None] if None in column else _levels(layout.channels)
        targets[variable.file_name] = _Target([column.get(k) for k in levels], variable.to_model, None not in column)
    return targets


def _levels(names: tuple[str, ...]) -> list[int | None]:
    """The level axis that all upper-air variables share; a variable is NaN on levels that were not asked for."""
    levels = {vocabulary.channel(name).level for name in names}
    return sorted(levels - {None}, key=lambda level: level or 0)


def _variables(names: tuple[str, ...]) -> list[tuple[vocabulary.Variable, list[vocabulary.Channel]]]:
    groups: dict[vocabulary.Variable, list[vocabulary.Channel]] = {}
    for channel in map(vocabulary.channel, names):
        groups.setdefault(channel.variable, []).append(channel)
    return list(groups.items())


def _create(path: Path, layout: Layout, attributes: dict[str, Any]) -> None:
    """Metadata and coordinates only; fields that nobody has written yet read as NaN.

    Created under a name of its own and renamed, so that a store either has all its metadata or does not exist. Of
    processes that create it at the same moment the first one wins; what the others made is equal, and dropped.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    dataset = xr.Dataset(
        {v.file_name: _template(layout, v, members) for v, members in _variables(layout.channels)},
        coords={
            "time": layout.init_times,
            "number": ("number", np.arange(layout.members, dtype=np.int32), {"standard_name": "realization"}),
            "prediction_timedelta": layout.lead_times,
            "latitude": ("latitude", layout.grid.latitude, {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", layout.grid.longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        attrs=attributes,
    )
    encoding = {str(name): _encoding(layout, array) for name, array in dataset.data_vars.items()}
    encoding["time"] = {"units": "hours since 1970-01-01", "dtype": "int64"}
    encoding["prediction_timedelta"] = {"units": "hours", "dtype": "int64"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Consolidated metadata is an extension of Zarr v3 that xarray reads, and misses loudly when it is not there.
        warnings.filterwarnings("ignore", "Consolidated metadata", category=zarr.errors.ZarrUserWarning)
        dataset.to_zarr(partial, mode="w", compute=False, zarr_format=3, consolidated=True, encoding=encoding)
    try:
        partial.rename(path)
    except OSError as error:
        shutil.rmtree(partial)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _template(layout: Layout, variable: vocabulary.Variable, members: list[vocabulary.Channel]) -> xr.DataArray:
    shape = (len(layout.init_times), layout.members, len(layout.lead_times))
    space = (layout.grid.height, layout.grid.width)
    attributes = {"units": variable.file_units, "long_name": variable.name.replace("_", " ")}
    if members[0].level is None:
        return xr.DataArray(_unwritten((*shape, *space)), dims=_DIMS, attrs=attributes)
    levels = _levels(layout.channels)
    data = _unwritten((*shape, len(levels), *space))
    return xr.DataArray(data, dims=_LEVEL_DIMS, coords={"level": np.array(levels, np.int32)}, attrs=attributes)


def _unwritten(shape: tuple[int, ...]) -> dask.array.Array:
    """An array that is never computed: to_zarr(compute=False) takes its shape and type."""
    unwritten: dask.array.Array = dask.array.full(shape, np.nan, dtype=np.float32, chunks=shape)
    return unwritten


def _encoding(layout: Layout, array: xr.DataArray) -> dict[str, Any]:
    """One chunk per lead time with all members, as WeatherBench 2's `ifs_ens`; shards keep the files few."""
    chunk = (1, layout.members, 1, *array.shape[3:])
    leads = min(layout.leads_per_shard, len(layout.lead_times))
    return {
        "chunks": chunk,
        "shards": (1, layout.members, leads, *array.shape[3:]),
        "compressors": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        "fill_value": np.nan,
    }
