"""The border between analysis stores and the model: names, orientation, order and units change here and nowhere else.

Reads the ERA5 / WeatherBench 2 layout: dims time, [level,] latitude, longitude in any order, latitude in either
direction. Out comes [time, channel, latitude, longitude] in model units, latitude 90..-90, longitude 0..360.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens import channels as vocabulary
from fuxi_ens.channels import Channel
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.progress import Advance
from fuxi_ens.stores import north_to_south, open_zarr
from fuxi_ens.times import Times, hours, label

Frames = NDArray[np.float32]

_ACCUMULATION_HOURS = 6


class FrameReader(Protocol):
    """Anything that gives frames by valid time."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of a frame, in order."""
        ...

    @property
    def times(self) -> Times:
        """Valid times that can be read, increasing."""
        ...

    def read(self, times: Times) -> Frames:
        """Frames at `times`, [time, channel, latitude, longitude] float32 in model units."""
        ...


@dataclass(frozen=True)
class Analysis:
    """A checked, lazy view of an analysis store; implements FrameReader."""

    store: str
    dataset: xr.Dataset
    """Oriented as `grid`; file names and units."""
    channels: tuple[str, ...]
    times: Times
    """Valid times on the model's steps (00, 06, 12, 18 UTC); an hourly store has more."""

    def read(self, times: Times) -> Frames:
        """See FrameReader. Raises StoreError for absent times and for missing values outside the sea temperature."""
        position = self._positions(times)
        columns = [self._field(group, position) for group in _by_variable(self.channels)]
        frames = np.concatenate(columns, axis=1, dtype=np.float32)
        self._refuse_missing(frames, times)
        return frames

    def require(self, times: Times) -> None:
        """Raise StoreError unless the store has all these times."""
        self._positions(times)

    def lazy(self, name: str) -> xr.DataArray:
        """One channel over all times, [time, latitude, longitude] in model units, as lazy as the store was opened."""
        channel = vocabulary.channel(name)
        field = _model_field(self.dataset, channel, self.store)
        return field.transpose("time", "latitude", "longitude").sel(time=self.times)

    def _positions(self, times: Times) -> NDArray[np.intp]:
        stored = self.dataset["time"].values
        position = np.searchsorted(stored, times)
        found = (position < len(stored)) & (stored[np.minimum(position, len(stored) - 1)] == times)
        if not found.all():
            raise StoreError(
                f"{self.store} holds no analysis at {label(times[~found][0])}; it covers {label(stored[0])} to "
                f"{label(stored[-1])}"
            )
        return position

    def _field(self, group: Sequence[Channel], position: NDArray[np.intp]) -> Frames:
        """All levels of one variable, [time, level, latitude, longitude] in model units."""
        variable = group[0].variable
        # Hourly accumulations end at their stamp: the 6 h up to t are the stamps t-5h ... t (verification.md 12).
        summed = variable.accumulated and variable.file_name not in self.dataset
        stamps = [position - k for k in range(_ACCUMULATION_HOURS if summed else 1)]
        if np.min(stamps) < 0:
            raise StoreError(f"{self.store} starts too late for the 6-hour sum of {group[0].name} asked for")
        total = np.sum([_values(self.dataset, group, index, self.store) for index in stamps], axis=0)
        return np.asarray(total * np.float32(variable.to_model))

    def _refuse_missing(self, frames: Frames, times: Times) -> None:
        finite = np.isfinite(frames)
        present = np.asarray(finite.any(axis=(2, 3)))
        for t, c in zip(*np.nonzero(~finite.all(axis=(2, 3))), strict=True):
            if not present[t, c] or not vocabulary.channel(self.channels[c]).variable.may_be_missing:
                raise StoreError(
                    f"{self.store}: {self.channels[c]} has missing values at {label(times[t])}; exclude that time"
                )


@dataclass(frozen=True)
class FrameCache:
    """Frames decoded once and kept in memory; implements FrameReader."""

    channels: tuple[str, ...]
    times: Times
    frames: Frames

    def read(self, times: Times) -> Frames:
        """See FrameReader."""
        position = np.searchsorted(self.times, times)
        assert np.array_equal(self.times[position], times), "the cache was filled for other times"
        return self.frames[position]


def open_analysis(
    store: str, channels: tuple[str, ...], grid: LatLonGrid, step_size: np.timedelta64, *, dask: bool = False
) -> Analysis:
    """Open and check an analysis store: it must hold every channel on exactly this grid, times increasing.

    Raises StoreError that names what is absent.
    """
    dataset = open_zarr(store, dask=dask)
    if "time" not in dataset.dims:
        raise StoreError(f"{store} has no dimension 'time', only {sorted(map(str, dataset.dims))}")
    for channel in map(vocabulary.channel, channels):
        _file_array(dataset, channel, store)
    stored = dataset["time"].values.astype("datetime64[ns]")
    if len(stored) == 0 or np.any(np.diff(stored) <= np.timedelta64(0)):
        raise StoreError(f"{store}: its {len(stored)} times must be in increasing order without duplicates")
    _check_hourly_where_needed(dataset, channels, stored, store)
    on_step = (stored - stored.astype("datetime64[D]")) % step_size == np.timedelta64(0)
    return Analysis(store, oriented(dataset.assign_coords(time=stored), grid, store), channels, stored[on_step])


def cache_frames(analysis: Analysis, times: Times, advance: Advance, block: int = 64) -> FrameCache:
    """Decode `times` block by block into memory; `advance` is told the number of frames done."""
    height, width = analysis.dataset.sizes["latitude"], analysis.dataset.sizes["longitude"]
    frames = np.empty((len(times), len(analysis.channels), height, width), np.float32)
    for start in range(0, len(times), block):
        part = times[start : start + block]
        frames[start : start + len(part)] = analysis.read(part)
        advance(len(part), "")
    return FrameCache(analysis.channels, times, frames)


def _by_variable(names: Sequence[str]) -> list[list[Channel]]:
    channels = [vocabulary.channel(name) for name in names]
    return [list(group) for _, group in groupby(channels, key=lambda c: c.variable.short)]


def _file_array(dataset: xr.Dataset, channel: Channel, store: str) -> xr.DataArray:
    variable = channel.variable
    candidates = (variable.file_name, variable.name)
    name = next((n for n in candidates if n in dataset), None)
    if name is None:
        raise StoreError(
            f"{store} lacks {candidates[0]!r} for channel {channel.name}; it holds {sorted(map(str, dataset))}"
        )
    array = dataset[name]
    if channel.level is None:
        return array
    if "level" not in array.dims or channel.level not in array["level"].values:
        have = array["level"].values.tolist() if "level" in array.dims else "no levels"
        raise StoreError(f"{store}: {name} has {have}, channel {channel.name} needs level {channel.level} hPa")
    return array


def _model_field(dataset: xr.Dataset, channel: Channel, store: str) -> xr.DataArray:
    array = _file_array(dataset, channel, store)
    if channel.level is not None:
        array = array.sel(level=channel.level, drop=True)
    if channel.variable.accumulated and array.name != channel.variable.file_name:
        array = array.rolling(time=_ACCUMULATION_HOURS).sum()
    return (array * channel.variable.to_model).rename(channel.name)


def _values(dataset: xr.Dataset, group: Sequence[Channel], index: NDArray[np.intp], store: str) -> Frames:
    array = _file_array(dataset, group[0], store).isel(time=index)
    try:
        if group[0].level is None:
            return array.transpose("time", "latitude", "longitude").values[:, None].astype(np.float32)
        levels = array.sel(level=[c.level for c in group])
        return levels.transpose("time", "level", "latitude", "longitude").values.astype(np.float32)
    except (RuntimeError, OSError, ValueError) as error:
        raise StoreError(f"{store}: cannot read {array.name}, a chunk is damaged or out of reach ({error})") from error


def oriented(dataset: xr.Dataset, grid: LatLonGrid, store: str) -> xr.Dataset:
    """Bring a store into model orientation and insist on the model's grid."""
    absent = {"latitude", "longitude"} - set(dataset.dims)
    if absent:
        raise StoreError(f"{store} has no dimensions {sorted(absent)}, only {sorted(map(str, dataset.dims))}")
    dataset = north_to_south(dataset)
    for dim, expected in (("latitude", grid.latitude), ("longitude", grid.longitude)):
        got = dataset[dim].values
        if got.shape != expected.shape or not np.allclose(got, expected, atol=1e-3):
            raise StoreError(
                f"{store} has {len(got)} {dim}s {got[0]:g}..{got[-1]:g}, the model's grid {grid.height}x{grid.width} "
                f"expects {len(expected)} from {expected[0]:g} to {expected[-1]:g}; regrid the store or change model"
            )
    return dataset


def _check_hourly_where_needed(dataset: xr.Dataset, names: tuple[str, ...], times: Times, store: str) -> None:
    """A store without 6 h sums must be hourly, or sums over its stamps would miss hours."""
    sums = [
        c.name for c in map(vocabulary.channel, names) if c.variable.accumulated and c.variable.file_name not in dataset
    ]
    if sums and len(times) > 1 and np.any(np.diff(times) != hours(1)):
        raise StoreError(f"{store} holds no 6-hour sums for {sums} and is not hourly, so they cannot be summed")
