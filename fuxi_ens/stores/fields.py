"""Fields by channel and time out of an open store: the one path from stored numbers to ours.

Chunks are decoded by a pool of threads straight into the array asked for; what cannot be decoded directly (GRIB,
NetCDF) is read through xarray. Here level, orientation, packing, units and 6-hour sums are dealt with, nowhere else.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from fuxi_ens import channels as vocabulary
from fuxi_ens.channels import ACCUMULATION_HOURS, Channel
from fuxi_ens.cores import available_cores
from fuxi_ens.errors import StoreError
from fuxi_ens.stores.lazy import LazySource
from fuxi_ens.stores.placed import ChunkedSource
from fuxi_ens.stores.source import Source, Target
from fuxi_ens.stores.stored import OpenStore
from fuxi_ens.times import Times, hours

Frames = NDArray[np.float32]

_THREADS_PER_CORE_REMOTE = 4


class Fields:
    """Fields of chosen channels by position on the stored time axis, [position, channel, latitude, longitude].

    `threads` 0 takes all cores for a store on disk and four times as many for one behind a network. Raises StoreError
    when the store lacks a channel. With `model_units` False the file units of `channels` are given.
    """

    def __init__(
        self, store: OpenStore, channels: tuple[str, ...], *, threads: int = 0, model_units: bool = True
    ) -> None:
        absent = [dim for dim in ("time", "latitude", "longitude") if dim not in store.dataset.dims]
        if absent:
            raise StoreError(f"{store.source} has no dimensions {absent}, only {sorted(map(str, store.dataset.dims))}")
        self.store = store
        self.channels = channels
        self.times: Times = store.dataset["time"].values.astype("datetime64[ns]")
        self.shape: tuple[int, int] = (store.dataset.sizes["latitude"], store.dataset.sizes["longitude"])
        self._groups = [_Group(store, group, model_units) for group in _by_variable(channels)]
        self._require_hourly_for_sums()
        remote = any(group.source.remote for group in self._groups)
        count = threads or available_cores() * (_THREADS_PER_CORE_REMOTE if remote else 1)
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="chunks")

    def read(self, positions: Sequence[int] | NDArray[np.intp]) -> Frames:
        """Fields at `positions`; missing points are NaN. Raises StoreError when a chunk cannot be read."""
        out = np.empty((len(positions), len(self.channels), *self.shape), np.float32)
        self.read_into(positions, out)
        return out

    def read_into(self, positions: Sequence[int] | NDArray[np.intp], out: Frames) -> None:
        """Like `read`, into memory that is there: float32, C-contiguous in latitude and longitude."""
        where = np.asarray(positions, dtype=np.intp)
        tasks = [task for start, group in self._placed() for task in group.tasks(where, out, start)]
        tasks.sort(key=lambda task: -task[0])
        self.run([task for _, task in tasks])

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Do all of them on the threads of this reader; the first error is raised once none of them runs any more."""
        futures = [self._pool.submit(task) for task in tasks]
        try:
            for future in futures:
                future.result()
        except BaseException:
            # The others must not go on writing into memory that the caller may use for something else.
            for future in futures:
                future.cancel()
            wait(futures)
            raise

    def stored_bytes(self, positions: Sequence[int] | NDArray[np.intp]) -> NDArray[np.int64]:
        """Compressed bytes of the chunks that hold each field, [position, channel]; 0 absent, -1 unknown."""
        where = np.asarray(positions, dtype=np.intp)
        columns = [group.stored_bytes(where) for group in self._groups]
        return np.concatenate(columns, axis=1)

    def _placed(self) -> Iterator[tuple[int, "_Group"]]:
        start = 0
        for group in self._groups:
            yield start, group
            start += len(group.channels)

    def _require_hourly_for_sums(self) -> None:
        """A store without 6-hour sums must be hourly, or sums over its stamps would miss hours."""
        summed = [channel.name for group in self._groups if group.stamps > 1 for channel in group.channels]
        if summed and len(self.times) > 1 and np.any(np.diff(self.times) != hours(1)):
            raise StoreError(
                f"{self.store.source} holds no 6-hour sums for {summed} and is not hourly, so they cannot be summed"
            )


class _Group:
    """The channels of one variable, which lie in the same chunks."""

    def __init__(self, store: OpenStore, channels: list[Channel], model_units: bool) -> None:
        variable = channels[0].variable
        name = next((n for n in (variable.file_name, variable.name) if n in store.dataset), None)
        if name is None:
            raise StoreError(
                f"{store.source} lacks {variable.file_name!r} for channel {channels[0].name}; it holds "
                f"{sorted(map(str, store.dataset))}"
            )
        # Hourly accumulations end at their stamp: the 6 h up to t are the stamps t-5h ... t (verification.md 12).
        self.stamps = ACCUMULATION_HOURS if variable.accumulated and name != variable.file_name else 1
        self.channels = channels
        levels = [_level_position(store, name, channel) for channel in channels]
        factor = variable.to_model if model_units else 1.0
        make = ChunkedSource if name in store.arrays else LazySource
        self.source: Source = make(store, name, levels, factor)
        self._store = store

    def tasks(self, where: NDArray[np.intp], out: Frames, start: int) -> Iterator[tuple[int, Callable[[], None]]]:
        """Independent pieces of work with their cost, that fill this group's channels of `out`."""
        if self.stamps > 1 and where.size and where.min() < self.stamps - 1:
            raise StoreError(
                f"{self._store.source} starts too late for the 6-hour sum of {self.channels[0].name} asked for"
            )
        stop = start + len(self.channels)
        targets = [Target(position, frame[start:stop]) for position, frame in zip(where.tolist(), out, strict=True)]
        if self.stamps == 1:
            return self.source.tasks(targets)
        return ((self.source.cost * self.stamps, _Summed(self.source, t, self.stamps)) for t in targets)

    def stored_bytes(self, where: NDArray[np.intp]) -> NDArray[np.int64]:
        """The smallest over the stamps of a sum, [position, channel]."""
        stamps = [self.source.stored_bytes(np.maximum(where - k, 0)) for k in range(self.stamps)]
        smallest: NDArray[np.int64] = np.min(stamps, axis=0)
        return smallest


class _Summed:
    """Fill one target with the sum over the stamps up to its position."""

    def __init__(self, source: Source, target: Target, stamps: int) -> None:
        self._source, self._target, self._stamps = source, target, stamps

    def __call__(self) -> None:
        part = np.empty_like(self._target.out)
        for k in range(self._stamps):
            into = part if k else self._target.out
            for _, run in self._source.tasks([Target(self._target.position - k, into)]):
                run()
            if k:
                np.add(self._target.out, part, out=self._target.out)


def _by_variable(names: Sequence[str]) -> list[list[Channel]]:
    channels = [vocabulary.channel(name) for name in names]
    return [list(group) for _, group in groupby(channels, key=lambda c: c.variable.short)]


def _level_position(store: OpenStore, name: str, channel: Channel) -> int | None:
    """Where the channel's level is on disk; None for surface fields."""
    array = store.dataset[name]
    if channel.level is None:
        return None
    levels = array["level"].values.tolist() if "level" in array.dims else []
    if channel.level not in levels:
        raise StoreError(
            f"{store.source}: {name} has {levels or 'no levels'}, channel {channel.name} needs level "
            f"{channel.level} hPa"
        )
    return int(levels.index(channel.level))
