"""A variable in Zarr chunks: which chunks hold the fields asked for, and where their numbers go.

Shape legend: a chunk is seen as [time, level, latitude, longitude] whatever the order on disk; surface variables have
one level.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.errors import StoreError
from fuxi_ens.stores.chunks import ChunkReader, Coordinates
from fuxi_ens.stores.patience import decode_patiently
from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.stores.source import Target, Task
from fuxi_ens.stores.stored import OpenStore
from fuxi_ens.times import label

_DIMS: Final = ("time", "level", "latitude", "longitude")

_scratch = Scratch()


class ChunkedSource:
    """See `source.Source`."""

    def __init__(self, store: OpenStore, name: str, levels: Sequence[int | None], factor: float) -> None:
        stored = store.arrays[name]
        extra = set(stored.dims) - set(_DIMS)
        if extra:
            raise StoreError(f"{store.source}: {name} has the further dimensions {sorted(extra)}; select one of each")
        self._stored, self._store, self._name = stored, store, name
        self._reader = ChunkReader(stored.array)
        self._levels = [level or 0 for level in levels]
        self._scale, self._offset = np.float32(stored.scale * factor), np.float32(stored.offset * factor)
        self._axis = {dim: stored.dims.index(dim) for dim in stored.dims}
        self._order = [self._axis[dim] for dim in _DIMS if dim in self._axis]
        self.remote = self._reader.remote
        self.cost = len(levels) * self._size("latitude") * self._size("longitude") * self._reader.dtype.itemsize

    def tasks(self, targets: Sequence[Target]) -> Iterator[Task]:
        """One task per chunk, so that none is decoded twice."""
        by_chunk: dict[int, list[Target]] = defaultdict(list)
        for target in targets:
            by_chunk[target.position // self._chunk("time")].append(target)
        cost = int(np.prod(self._reader.chunk_shape)) * self._reader.dtype.itemsize
        for time_chunk, wanted in by_chunk.items():
            for at in self._boxes(time_chunk, self._level_chunks()):
                yield cost, partial(self._fill, at, wanted)

    def stored_bytes(self, positions: NDArray[np.intp]) -> NDArray[np.int64]:
        """See Source."""
        out = np.zeros((len(positions), len(self._levels)), np.int64)
        known: dict[tuple[int, int], int] = {}
        for i, position in enumerate(positions.tolist()):
            for j, level in enumerate(self._levels):
                at = (position // self._chunk("time"), level // self._chunk("level"))
                if at not in known:
                    known[at] = self._smallest(at)
                out[i, j] = known[at]
        return out

    def _smallest(self, at: tuple[int, int]) -> int:
        """Bytes of a field's chunks, 0 if one of them is absent."""
        sizes = [self._reader.stored_bytes(chunk) for chunk in self._boxes(at[0], [at[1]])]
        return min(sizes) if min(sizes) <= 0 else sum(sizes)

    def _boxes(self, time_chunk: int, level_chunks: Sequence[int]) -> Iterator[Coordinates]:
        """Coordinates on disk of the chunks that cover the globe at one place of time and level."""
        ranges = [range(n) for n in self._reader.grid]
        ranges[self._axis["time"]] = range(time_chunk, time_chunk + 1)
        for level_chunk in level_chunks:
            if "level" in self._axis:
                ranges[self._axis["level"]] = range(level_chunk, level_chunk + 1)
            yield from itertools.product(*ranges)

    def _level_chunks(self) -> list[int]:
        return sorted({level // self._chunk("level") for level in self._levels})

    def _fill(self, at: Coordinates, targets: Sequence[Target]) -> None:
        """Decode one chunk and put its numbers where they belong."""
        if self._decode_in_place(at, targets):
            return
        chunk = _scratch.take(self._reader.chunk_shape, self._reader.dtype)
        present = self._decode(at, chunk, targets)
        ordered = chunk.transpose(self._order)
        field_TLHW = ordered if "level" in self._axis else ordered[:, None]
        first_level = self._at("level", at) * self._chunk("level")
        for target in targets:
            t = target.position % self._chunk("time")
            for j, level in enumerate(self._levels):
                if 0 <= level - first_level < self._chunk("level"):
                    piece = field_TLHW[t, level - first_level] if present else None
                    self._place(piece, target.out[j], at)

    def _decode_in_place(self, at: Coordinates, targets: Sequence[Target]) -> bool:
        """Decode straight into the target if the chunk is exactly its fields; False if that is not so."""
        stored, shape = self._stored, self._reader.chunk_shape
        levels = self._levels
        fits = (
            len(targets) == 1
            and self._reader.direct
            and self._reader.dtype == np.dtype("<f4")
            and self._order == list(range(len(self._order)))
            and self._chunk("time") == 1
            and shape[-2:] == (self._size("latitude"), self._size("longitude"))
            and self._chunk("level") == self._size("level") == len(levels)
            and levels == list(range(len(levels)))
            and not (stored.reversed_latitude or stored.longitude_shift or stored.missing)
            and targets[0].out.flags.c_contiguous
        )
        if not fits:
            return False
        out = targets[0].out
        if not self._decode(at, out.reshape(shape), targets):
            out.fill(np.nan)
        elif self._scale != 1 or self._offset:
            self._convert(out, out)
        return True

    def _place(self, piece_HW: NDArray[Any] | None, out_HW: NDArray[np.float32], at: Coordinates) -> None:
        """Copy a tile into a global field: orientation, units, missing values."""
        rows, columns = self._size("latitude"), self._size("longitude")
        top, left = (
            self._at("latitude", at) * self._chunk("latitude"),
            self._at("longitude", at) * self._chunk("longitude"),
        )
        height, width = min(self._chunk("latitude"), rows - top), min(self._chunk("longitude"), columns - left)
        if self._stored.reversed_latitude:
            out_rows = out_HW[rows - top - height : rows - top][::-1]
        else:
            out_rows = out_HW[top : top + height]
        # A tile may cross the column where the row begins: it goes out in at most two pieces.
        begin = (left - self._stored.longitude_shift) % columns
        first = min(width, columns - begin)
        for source, target in (
            (slice(0, first), slice(begin, begin + first)),
            (slice(first, width), slice(0, width - first)),
        ):
            if source.start < source.stop:
                out = out_rows[:, target]
                if piece_HW is None:
                    out[...] = np.nan
                else:
                    self._convert(piece_HW[:height, source], out)

    def _convert(self, numbers: NDArray[Any], out: NDArray[np.float32]) -> None:
        missing = [numbers == value for value in self._stored.missing]
        np.multiply(numbers, self._scale, out=out, casting="same_kind", dtype=np.float32)
        if self._offset:
            out += self._offset
        for points in missing:
            out[points] = np.nan

    def _decode(self, at: Coordinates, out: NDArray[Any], targets: Sequence[Target]) -> bool:
        """Decode with bounded retries. Raises StoreError that names store, variable and time."""
        remedy = "mend the store, or leave the time out (`fuxi-ens data audit --skip-list`)"
        return decode_patiently(self._reader, at, out, self._where(targets[0].position), remedy)

    def _where(self, position: int) -> str:
        return f"{self._store.source}: {self._name} at {label(self._store.dataset['time'].values[position])}"

    def _at(self, dim: str, at: Coordinates) -> int:
        return at[self._axis[dim]] if dim in self._axis else 0

    def _chunk(self, dim: str) -> int:
        return self._reader.chunk_shape[self._axis[dim]] if dim in self._axis else 1

    def _size(self, dim: str) -> int:
        return int(self._reader.array.shape[self._axis[dim]]) if dim in self._axis else 1
