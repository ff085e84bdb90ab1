"""Chunks of one Zarr array, decoded straight into given memory.

Reading through zarr-python copies every chunk two to three times into fresh memory, which at 0.25 degrees costs more
than the decompression itself. Here the common layouts (Zarr v2 and v3; Blosc, Zstandard, GZip or no compression;
CRC-32C; shards) are decoded by numcodecs into the array the caller gives. Whatever else a store uses is read through
zarr-python.
"""

import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import crc32c
import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray

from fuxi_ens.stores.blobs import Blobs, blobs_of

_ABSENT: Final = np.uint64(2**64 - 1)
"""Offset of a chunk that a shard does not hold (Zarr sharding specification)."""
_INDICES_KEPT: Final = 512
_CHECKSUM_BYTES: Final = 4

Coordinates = tuple[int, ...]


@dataclass(frozen=True)
class _Codecs:
    """What turns the stored bytes of a chunk into its numbers."""

    compressor: Any
    """A numcodecs codec, or None."""
    checksum: bool
    dtype: np.dtype[Any]

    def decode(self, blob: memoryview, out: NDArray[Any]) -> None:
        """Decode into the contiguous `out`. Raises ValueError or RuntimeError when the bytes are damaged."""
        if not blob:
            raise ValueError("it is empty")
        if self.checksum:
            blob, stored = blob[:-_CHECKSUM_BYTES], blob[-_CHECKSUM_BYTES:]
            if crc32c.crc32c(blob) != int.from_bytes(stored, "little"):
                raise ValueError("its checksum does not match")
        target = out.reshape(-1).view(np.uint8).data
        if self.compressor is None:
            if len(blob) != len(target):
                raise ValueError(f"it has {len(blob)} bytes, expected {len(target)}")
            target[:] = blob
            return
        # Blosc trusts a frame's own header: a frame for less memory than `out` would leave the rest unwritten.
        if isinstance(self.compressor, numcodecs.Blosc) and (
            len(blob) < 16
            or int.from_bytes(blob[4:8], "little") != len(target)
            or int.from_bytes(blob[12:16], "little") != len(blob)
        ):
            raise ValueError(f"its {len(blob)} bytes are no complete frame of {len(target)} bytes")
        try:
            self.compressor.decode(blob, target)
        except (EOFError, zlib.error) as error:
            raise ValueError(str(error)) from error


class ChunkReader:
    """Random access to the chunks of one array; safe to use from several threads."""

    def __init__(self, array: zarr.Array[Any]) -> None:
        self.array = array
        self.chunk_shape: tuple[int, ...] = tuple(array.chunks)
        """Of the smallest piece that is decoded alone."""
        self.grid: tuple[int, ...] = tuple(
            -(-n // c) if c else 0 for n, c in zip(array.shape, array.chunks, strict=True)
        )
        """Chunks along each dimension."""
        self._blobs: Blobs | None = blobs_of(array.store)
        self._per_shard = (
            tuple(s // c for s, c in zip(array.shards, array.chunks, strict=True)) if array.shards else None
        )
        self._codecs, self._index_at_end = _understood(array)
        if self._blobs is None:
            self._codecs = None
        self._indices: OrderedDict[str, NDArray[np.uint64] | None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def direct(self) -> bool:
        """Whether chunks are decoded here, not by zarr-python."""
        return self._codecs is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers that `decode` writes."""
        return self._codecs.dtype if self._codecs else np.dtype(self.array.dtype)

    @property
    def remote(self) -> bool:
        """Whether reading waits for a network."""
        return self._blobs is not None and self._blobs.remote

    def decode(self, at: Coordinates, out: NDArray[Any]) -> bool:
        """Decode the chunk `at` into `out` (contiguous, chunk shape, the array's dtype); False if it is absent.

        Raises OSError, ValueError, RuntimeError or an error of obstore when it cannot be read.
        """
        if self._codecs is None:
            region = tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in self._extent(at))
            out[tuple(slice(0, r.stop - r.start) for r in region)] = self.array[region]
            return True
        blob = self._read(at)
        if blob is None:
            return False
        self._codecs.decode(blob, out)
        return True

    def stored_bytes(self, at: Coordinates) -> int:
        """Compressed size of a chunk; 0 if it is absent, -1 if that cannot be known without decoding."""
        if self._blobs is None or self._codecs is None:
            return -1
        if self._per_shard is None:
            return self._blobs.size(self._key(at))
        index = self._index(self._key(self._shard(at)))
        entry = None if index is None else index[self._within(at)]
        return 0 if entry is None or entry[0] == _ABSENT else int(entry[1])

    def key(self, at: Coordinates) -> str:
        """Path in the store of the file that holds the chunk."""
        return self._key(self._shard(at) if self._per_shard else at)

    def _extent(self, at: Coordinates) -> list[tuple[int, int, int]]:
        return list(zip(at, self.chunk_shape, self.array.shape, strict=True))

    def _key(self, at: Coordinates) -> str:
        name = self.array.metadata.encode_chunk_key(at)
        return f"{self.array.path}/{name}" if self.array.path else name

    def _shard(self, at: Coordinates) -> Coordinates:
        assert self._per_shard is not None
        return tuple(i // n for i, n in zip(at, self._per_shard, strict=True))

    def _within(self, at: Coordinates) -> Coordinates:
        assert self._per_shard is not None
        return tuple(i % n for i, n in zip(at, self._per_shard, strict=True))

    def _read(self, at: Coordinates) -> memoryview | None:
        assert self._blobs is not None
        if self._per_shard is None:
            return self._blobs.read(self._key(at))
        key = self._key(self._shard(at))
        index = self._index(key)
        if index is None or index[self._within(at)][0] == _ABSENT:
            return None
        offset, length = index[self._within(at)].tolist()
        return self._blobs.read(key, offset, length)

    def _index(self, key: str) -> NDArray[np.uint64] | None:
        """Offset and length of each chunk of a shard, [*chunks per shard, 2]; None if there is no such shard."""
        with self._lock:
            if key in self._indices:
                self._indices.move_to_end(key)
                return self._indices[key]
        assert self._blobs is not None
        assert self._per_shard is not None
        count = 16 * int(np.prod(self._per_shard)) + _CHECKSUM_BYTES
        blob = self._blobs.read(key, -count) if self._index_at_end else self._blobs.read(key, 0, count)
        index = None if blob is None else _parse_index(blob, count, self._per_shard)
        with self._lock:
            self._indices[key] = index
            while len(self._indices) > _INDICES_KEPT:
                self._indices.popitem(last=False)
        return index


def _parse_index(blob: memoryview, count: int, per_shard: tuple[int, ...]) -> NDArray[np.uint64]:
    body, stored = blob[:-_CHECKSUM_BYTES], blob[-_CHECKSUM_BYTES:]
    if len(blob) != count or crc32c.crc32c(body) != int.from_bytes(stored, "little"):
        raise ValueError("the index of its shard is damaged")
    # A copy: the blob's memory is used again by the next read of this thread.
    return np.frombuffer(body, "<u8").reshape(*per_shard, 2).copy()


def _understood(array: zarr.Array[Any]) -> tuple[_Codecs | None, bool]:
    """The codecs of a chunk if all of them are known here, and whether a shard's index is at its end."""
    metadata: dict[str, Any] = array.metadata.to_dict()
    if array.dtype.kind not in "fiu":
        return None, True
    if metadata["zarr_format"] == 2:
        plain = metadata.get("order", "C") == "C" and not metadata.get("filters")
        return (_chain(_v2_codecs(metadata), np.dtype(metadata["dtype"])) if plain else None), True
    codecs = list(metadata["codecs"])
    if codecs[0]["name"] != "sharding_indexed":
        return _chain(codecs, array.dtype.newbyteorder("<")), True
    sharding = codecs[0]["configuration"]
    standard = [codec["name"] for codec in sharding["index_codecs"]] == ["bytes", "crc32c"] and len(codecs) == 1
    at_end = sharding.get("index_location", "end") == "end"
    return (_chain(list(sharding["codecs"]), array.dtype.newbyteorder("<")) if standard else None), at_end


def _v2_codecs(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """The compressor of a v2 array in the words of v3."""
    compressor: Any = metadata.get("compressor")
    if isinstance(compressor, numcodecs.abc.Codec):
        compressor = compressor.get_config()
    return [{"name": "bytes"}, *([{"name": compressor["id"]}] if compressor else [])]


def _chain(codecs: list[dict[str, Any]], dtype: np.dtype[Any]) -> _Codecs | None:
    """A decoder for `bytes`, then at most one compressor, then at most one checksum; None for any other chain."""
    names = [codec["name"].removeprefix("numcodecs.") for codec in codecs]
    endian = (codecs[0].get("configuration") or {}).get("endian", "little") if codecs else None
    if not names or names[0] != "bytes" or endian != "little":
        return None
    checksum = names[-1] == "crc32c"
    between = names[1:-1] if checksum else names[1:]
    if len(between) > 1 or any(name not in _COMPRESSORS for name in between):
        return None
    return _Codecs(_COMPRESSORS[between[0]]() if between else None, checksum, dtype)


_COMPRESSORS: Final = {
    "blosc": numcodecs.Blosc,
    "zstd": numcodecs.Zstd,
    "gzip": numcodecs.GZip,
    "zlib": numcodecs.Zlib,
    "lz4": numcodecs.LZ4,
}
"""Every one of them reads its parameters from the data."""
