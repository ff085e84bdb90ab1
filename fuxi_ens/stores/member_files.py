"""Forecasts of the released FuXi-ENS: one file per member and step, `member_000/001.nc`, in model units.

Its `inference.py` writes an array `output` [time, step, channel, lat, lon, member], where `step` counts steps of six
hours from 1 and `time` is the init time. Nothing in a file says more than that.
"""

import glob
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from fuxi_ens import channels as vocabulary
from fuxi_ens.channels import Variable
from fuxi_ens.errors import StoreError
from fuxi_ens.stores.gridded_files import open_cubes
from fuxi_ens.times import Times, hours

_ARRAY: Final = "output"
_FIELD: Final = ("channel", "lat", "lon")
_HORIZONTAL: Final = ("latitude", "longitude")
_SINGLE: Final = ("time", "step", "member")
_MEMBER: Final = re.compile(r"member_(\d{3,})")
_STEP: Final = re.compile(r"(\d{3,})\.(?:nc|zarr)")
_HOURS_PER_STEP: Final = 6


@dataclass(frozen=True)
class _Head:
    """What one file says beside its fields."""

    channels: list[str]
    latitude: NDArray[np.floating]
    longitude: NDArray[np.floating]
    init_time: np.datetime64

    def fits(self, other: "_Head") -> bool:
        """Whether both have the same fields."""
        return (
            self.channels == other.channels
            and np.array_equal(self.latitude, other.latitude)
            and np.array_equal(self.longitude, other.longitude)
        )


def member_folders(source: str) -> list[Path]:
    """The folders with members, one per init time, that a path or a pattern with `*` means; none if it means others."""
    path = Path(source)
    paths = [path] if "*" not in source or path.exists() else sorted(map(Path, glob.glob(source)))  # noqa: PTH207
    return paths if paths and all(_numbered(path, _MEMBER) for path in paths) else []


def open_members(folders: Sequence[Path]) -> xr.Dataset:
    """All forecasts, lazily, in the names and file units of `channels`; the orientation is that of the files.

    Raises StoreError when a file is missing or damaged, or when files differ in grid or channels.
    """
    numbers, steps, paths = _paths(folders)
    heads = [_head(row[0, 0]) for row in paths]
    for row, head in zip(paths, heads, strict=True):
        if not head.fits(heads[0]):
            raise StoreError(f"{row[0, 0]} has another grid or other channels than {paths[0, 0, 0]}; open them apart")
    known = {name.lower(): at for at, name in enumerate(heads[0].channels) if vocabulary.is_channel(name.lower())}
    if not known:
        raise StoreError(
            f"{paths[0, 0, 0]} calls its channels {heads[0].channels[:4]} ..., expected FuXi-ENS's names, "
            f"{vocabulary.CHANNELS_78[0]} to {vocabulary.CHANNELS_78[-1]}; write them into the coordinate `channel`"
        )
    coords = {
        "time": _init_times(heads, paths),
        "number": np.array(numbers, np.int32),
        "prediction_timedelta": np.array([hours(_HOURS_PER_STEP * step) for step in steps]),
        "latitude": heads[0].latitude,
        "longitude": heads[0].longitude,
    }
    return xr.Dataset(_variables(known, paths), coords | _level_axis(known))


def _level_axis(known: dict[str, int]) -> dict[str, NDArray[np.int64]]:
    levels = {vocabulary.channel(name).level for name in known} - {None}
    return {"level": np.array(sorted(level for level in levels if level is not None))} if levels else {}


def _variables(known: dict[str, int], paths: NDArray[Any]) -> dict[str, xr.Variable]:
    """One lazy array per variable; those on pressure levels share the axis, and are NaN where they have no channel."""
    head = _head(paths[0, 0, 0])
    variables = {}
    for variable in dict.fromkeys(vocabulary.channel(name).variable for name in known):
        levels: list[int | None] = [None] if variable.short in known else [*_level_axis(known)["level"].tolist()]
        columns = [known.get(variable.short if level is None else f"{variable.short}{level}") for level in levels]
        array = _MemberArray(paths, columns, variable, (len(head.latitude), len(head.longitude)))
        dims = ("time", "number", "prediction_timedelta", *(["level"] if array.has_levels else []), *_HORIZONTAL)
        lazy = indexing.LazilyIndexedArray(array)
        variables[variable.file_name] = xr.Variable(dims, lazy, {"units": variable.file_units})
    return variables


class _MemberArray(BackendArray):
    """One variable over all files, [time, number, prediction_timedelta, (level,) lat, lon]; read when indexed."""

    def __init__(
        self, paths: NDArray[Any], columns: list[int | None], variable: Variable, horizontal: tuple[int, int]
    ) -> None:
        self._paths, self._columns, self._to_model = paths, columns, np.float32(variable.to_model)
        self.has_levels = vocabulary.VARIABLES[variable.short] in vocabulary.UPPER_AIR
        self.shape = (*paths.shape, *([len(columns)] if self.has_levels else []), *horizontal)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[np.float32]:
        """What xarray calls to read."""
        support = indexing.IndexingSupport.OUTER
        values: NDArray[np.float32] = indexing.explicit_indexing_adapter(key, self.shape, support, self._read)
        return values

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        """Along each dimension a position, a slice or an array of positions, each on its own."""
        chosen = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        files, (*levels, rows, columns) = chosen[:3], [np.atleast_1d(part) for part in chosen[3:]]
        wanted = [self._columns[at] for at in (levels[0] if levels else [0])]
        parts = [
            self._fields(self._paths[at], wanted)[:, rows[:, None], columns]
            for at in itertools.product(*(np.atleast_1d(part).tolist() for part in files))
        ]
        # A single position takes its dimension away.
        sizes = [len(part) for part in chosen if part.ndim]
        return np.stack(parts).reshape(sizes)

    def _fields(self, path: Path, wanted: list[int | None]) -> NDArray[np.float32]:
        """Channels of one file in file units, [channel, lat, lon]."""
        there = [at for at in wanted if at is not None]
        out = np.full((len(wanted), *self.shape[-2:]), np.nan, np.float32)
        with _opened(path) as cube:
            field = cube[_ARRAY].isel(dict.fromkeys(_SINGLE, 0)).isel(channel=there)
            try:
                values = field.load().transpose(*_FIELD).to_numpy()
            except (OSError, RuntimeError, ValueError) as error:
                raise StoreError(f"cannot read {path} ({error}); it may be cut short, make it again") from error
        out[[at is not None for at in wanted]] = values / self._to_model
        return out


def _paths(folders: Sequence[Path]) -> tuple[list[int], list[int], NDArray[Any]]:
    """Numbers of the members, steps, and the files [folder, member, step]. Raises StoreError if one is absent."""
    members = sorted(_numbered(folders[0], _MEMBER))
    every = itertools.chain.from_iterable(_numbered(folder, _MEMBER).values() for folder in folders)
    steps = sorted({step for path in every for step in _numbered(path, _STEP)})
    paths = np.empty((len(folders), len(members), len(steps)), object)
    for i, folder in enumerate(folders):
        found = _numbered(folder, _MEMBER)
        if sorted(found) != members:
            raise StoreError(f"{folder} has the members {sorted(found)}, {folders[0]} has {members}; open them apart")
        for j, member in enumerate(members):
            files = _numbered(found[member], _STEP)
            absent = [step for step in steps if step not in files]
            if absent or not steps:
                first = absent[0] if absent else 1
                raise StoreError(f"{found[member]} lacks step {first:03d}; run its inference again, or move it away")
            paths[i, j] = [files[step] for step in steps]
    return members, steps, paths


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    """Entries of a folder whose names are numbers after a pattern."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return {int(match[1]): path for path in entries if (match := pattern.fullmatch(path.name))}


def _head(path: Path) -> _Head:
    with _opened(path) as cube:
        init_time = xr.decode_cf(cube[["time"]])["time"].to_numpy()[0]
        names = [str(name) for name in cube["channel"].to_numpy()]
        return _Head(names, cube["lat"].to_numpy(), cube["lon"].to_numpy(), init_time.astype("datetime64[ns]"))


def _opened(path: Path) -> xr.Dataset:
    """Raises StoreError unless the file is one of FuXi-ENS's."""
    cube = xr.open_zarr(path, chunks=None, decode_cf=False) if path.is_dir() else open_cubes(path, dask=False)[0]
    sizes = dict(cube[_ARRAY].sizes) if _ARRAY in cube else {}
    if set(sizes) != {*_SINGLE, *_FIELD} or any(sizes[dim] != 1 for dim in _SINGLE):
        raise StoreError(
            f"{path} has {sizes or sorted(map(str, cube))}, expected {_ARRAY} with one time, step and member, as "
            "FuXi-ENS writes it; the hourly variant, with several steps per file, is not read"
        )
    return cube


def _init_times(heads: Sequence[_Head], paths: NDArray[Any]) -> Times:
    times = np.array([head.init_time for head in heads])
    if len(np.unique(times)) < len(times):
        raise StoreError(f"{paths[0, 0, 0].parents[1]} and other folders hold the same init time; keep one of each")
    return times
