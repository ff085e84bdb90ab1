"""One shard of the training store: read, check, regrid, round, write, and say what was written.

A task names stores and opens them itself, so that it can run in any process; what it opens stays open for the next.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import zarr
from numpy.typing import NDArray

from fuxi_ens.data.missing import require_values
from fuxi_ens.data.regrid import Regridder, same_grid
from fuxi_ens.data.rounding import rounded
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores import OpenStore, open_store
from fuxi_ens.stores.fields import Fields
from fuxi_ens.times import Times

Array = NDArray[np.float32]

# A block of source fields is read at a time, so that a shard of a coarse grid does not hold its fine source.
BLOCK_BYTES: Final = 1 << 28


@dataclass(frozen=True)
class ShardTask:
    """Everything one worker has to know to write one shard."""

    store: str
    name: str
    """Of the array."""
    path: str
    """Of the file below `store`."""
    first: int
    """Its first time on the time axis of the training store."""
    positions: tuple[int, ...]
    """Of its times on the time axis of the source."""
    shape: tuple[int, ...]
    """Of one time: [level,] latitude, longitude."""
    channels: tuple[str, ...]
    rows: tuple[int, ...]
    """Place of each channel on the level axis; empty for a surface field."""
    source: str
    source_points: int
    """Of one field of the source."""
    grid: LatLonGrid
    keep_bits: int | None
    threads: int

    @property
    def source_bytes(self) -> int:
        """Decoded bytes of the fields that this task reads."""
        return 4 * len(self.positions) * len(self.channels) * self.source_points


@dataclass(frozen=True)
class ShardRecord:
    """A shard that is on disk, as the manifest states it."""

    path: str
    bytes: int
    sha256: str


@lru_cache(maxsize=4)
def opened(source: str) -> OpenStore:
    """The store, opened once per process: a long time axis takes seconds."""
    return open_store(source)


@lru_cache(maxsize=4)
def regridder(source: str, grid: LatLonGrid) -> Regridder | None:
    """What brings fields of `source` to `grid`; None when they are on it. Made once per process."""
    dataset = opened(source).dataset
    latitude, longitude = dataset["latitude"].values, dataset["longitude"].values
    return None if same_grid(latitude, longitude, grid) else Regridder(latitude, longitude, grid, source)


def write_shard(task: ShardTask) -> ShardRecord:
    """Write one shard and flush it to the disk. Raises StoreError for missing values, OSError for a full disk."""
    values = read_shard(task)
    file = Path(task.store) / task.path
    # What a killed run left would be read and merged by zarr.
    file.unlink(missing_ok=True)
    array = zarr.open_group(task.store, mode="r+")[task.name]
    assert isinstance(array, zarr.Array)
    array[task.first : task.first + len(task.positions)] = values
    return _flushed(task, file)


def read_shard(task: ShardTask) -> Array:
    """The values of a shard in file units, [time, (level,) latitude, longitude]; NaN on levels not asked for."""
    out = np.empty((len(task.positions), *task.shape), np.float32)
    levels_TLHW = out if task.rows else out[:, None]
    rows = task.rows or (0,)
    fields = Fields(opened(task.source), task.channels, threads=task.threads, model_units=False)
    regrid = regridder(task.source, task.grid)
    in_place = regrid is None and rows == tuple(range(levels_TLHW.shape[1]))
    size = max(BLOCK_BYTES // (4 * len(rows) * task.source_points), 1)
    for start in range(0, len(task.positions), size):
        positions, block = task.positions[start : start + size], levels_TLHW[start : start + size]
        frames = block if in_place else np.empty((len(positions), len(rows), *fields.shape), np.float32)
        fields.read_into(positions, frames)
        refuse_missing(frames, fields.times[list(positions)], task.channels, task.source)
        if not in_place:
            _place(frames if regrid is None else regrid(frames), rows, block)
    return rounded(out, task.keep_bits)


def _place(frames: Array, rows: tuple[int, ...], block: Array) -> None:
    """Put channels on their levels."""
    if len(rows) < block.shape[1]:
        block.fill(np.nan)
    for channel, row in enumerate(rows):
        block[:, row] = frames[:, channel]


def refuse_missing(frames: Array, times: Times, channels: tuple[str, ...], source: str) -> None:
    """Raise StoreError for a point without a value in a channel that must have one everywhere."""
    for time, frame in zip(times, frames, strict=True):
        for name, field in zip(channels, frame, strict=True):
            require_values(field, name, time, source)


def _flushed(task: ShardTask, file: Path) -> ShardRecord:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
    return ShardRecord(task.path, size, digest)
