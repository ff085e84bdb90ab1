"""All members of one field of a forecast in a Zarr store, decoded straight into memory that is there.

What `fields` does for analyses, for the layouts of forecasts: chunks that hold whole fields of one member or of
several. Others, and stores that are not Zarr, are read through xarray by the caller.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.stores.chunks import ChunkReader, Coordinates
from fuxi_ens.stores.patience import decode_patiently
from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.stores.stored import OpenStore

_FIELD: Final = ("number", "latitude", "longitude")
_scratch = Scratch()


def first_row(chosen: xr.Dataset, there: xr.Dataset) -> int | None:
    """Row of the first of the `chosen` members among all that are `there`.

    None where they do not lie side by side, where members have no numbers to tell, and for a single forecast.
    """
    if "number" not in there.dims:
        return None
    count = chosen.sizes["number"]
    if count == there.sizes["number"]:
        return 0
    if "number" not in there.coords:
        return None
    known, wanted = there["number"].to_numpy(), chosen["number"].to_numpy()
    first = int(np.flatnonzero(known == wanted[0])[0])
    unique = len(np.unique(known)) == len(known)
    return first if unique and np.array_equal(known[first : first + count], wanted) else None


class EnsembleReader:
    """One variable of a forecast store. Threads may share it."""

    def __init__(self, store: OpenStore, name: str) -> None:
        self._stored = stored = store.arrays[name]
        self._reader = ChunkReader(stored.array)
        self._axis = {dim: stored.dims.index(dim) for dim in stored.dims}
        self._what = f"{store.source}: {name}"

    @staticmethod
    def can_read(store: OpenStore, name: str) -> bool:
        """Whether this layout is understood: Zarr chunks that hold whole fields."""
        stored = store.arrays.get(name)
        if stored is None or not set(_FIELD) <= set(stored.dims):
            return False
        known = {"time", "prediction_timedelta", "level", *_FIELD}
        shape = dict(zip(stored.dims, stored.array.shape, strict=True))
        chunks = dict(zip(stored.dims, stored.array.chunks, strict=True))
        whole = all(chunks[dim] >= shape[dim] for dim in _FIELD[1:])
        return whole and set(stored.dims) <= known and all(n == store.dataset.sizes[dim] for dim, n in shape.items())

    def scratch_bytes(self, *, whole: bool = True) -> int:
        """Memory that a thread needs beside the result, at most: a chunk as it is stored, and one that does not fit.

        `whole` where no member is left out.
        """
        chunk = int(np.prod(self._reader.chunk_shape)) * self._reader.dtype.itemsize
        in_place = self._fits() and (whole or self._chunk("number") == 1)
        # What cannot be compressed is as long as its numbers.
        return (chunk if self._reader.direct else 0) + (0 if in_place else chunk)

    def read_into(self, where: Mapping[str, int], out: NDArray[np.float32], first: int = 0) -> None:
        """Fill `out` [number, latitude, longitude], C-contiguous, with file units; missing points are NaN.

        `where` gives the position on disk along time, prediction_timedelta and, if there is one, level; `first` is that
        of the first member. Raises StoreError when a chunk cannot be read.
        """
        at = [0] * len(self._stored.dims)
        for dim, position in where.items():
            at[self._axis[dim]] = position // self._chunk(dim)
        size, end = self._chunk("number"), first + len(out)
        for block in range(first // size, -(-end // size)):
            at[self._axis["number"]] = block
            low, high = max(first, block * size), min(end, (block + 1) * size)
            self._fill(tuple(at), where, out[low - first : high - first], low - block * size)

    def _fill(self, at: Coordinates, where: Mapping[str, int], out: NDArray[np.float32], skipped: int) -> None:
        """Decode those members of one chunk that come after the `skipped` ones."""
        if self._fits() and len(out) == self._chunk("number"):
            if not self._decode(at, out.reshape(self._reader.chunk_shape), where):
                out.fill(np.nan)
            elif self._stored.scale != 1 or self._stored.offset:
                self._convert(out, out)
            return
        chunk = _scratch.take(self._reader.chunk_shape, self._reader.dtype)
        if not self._decode(at, chunk, where):
            out.fill(np.nan)
            return
        rest = [dim for dim in self._stored.dims if dim not in _FIELD]
        ordered = chunk.transpose([self._axis[dim] for dim in (*rest, *_FIELD)])
        field = ordered[tuple(where[dim] % self._chunk(dim) for dim in rest)][skipped : skipped + len(out)]
        if self._stored.reversed_latitude:
            field = field[:, ::-1]
        shift = self._stored.longitude_shift % field.shape[-1]
        self._convert(field[..., shift:], out[..., : field.shape[-1] - shift])
        self._convert(field[..., :shift], out[..., field.shape[-1] - shift :])

    def _fits(self) -> bool:
        """Whether a chunk is, byte for byte, some whole members of one field."""
        stored, shape = self._stored, dict(zip(self._stored.dims, self._reader.chunk_shape, strict=True))
        return (
            self._reader.direct
            and self._reader.dtype == np.dtype("<f4")
            and [dim for dim in stored.dims if dim in _FIELD] == list(_FIELD)
            and all(shape[dim] == 1 for dim in stored.dims if dim not in _FIELD)
            and all(shape[dim] == stored.array.shape[self._axis[dim]] for dim in _FIELD[1:])
            and not (stored.reversed_latitude or stored.longitude_shift or stored.missing)
        )

    def _convert(self, numbers: NDArray[Any], out: NDArray[np.float32]) -> None:
        missing = [numbers == value for value in self._stored.missing]
        np.multiply(numbers, np.float32(self._stored.scale), out=out, casting="same_kind", dtype=np.float32)
        if self._stored.offset:
            out += np.float32(self._stored.offset)
        for points in missing:
            out[points] = np.nan

    def _decode(self, at: Coordinates, out: NDArray[Any], where: Mapping[str, int]) -> bool:
        place = ", ".join(f"{dim} {position}" for dim, position in where.items())
        return decode_patiently(self._reader, at, out, f"{self._what} at {place}", "write it again")

    def _chunk(self, dim: str) -> int:
        return self._reader.chunk_shape[self._axis[dim]]
