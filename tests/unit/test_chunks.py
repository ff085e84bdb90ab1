"""Chunks decoded directly equal what zarr-python reads, and damage is never taken for data."""

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

from fuxi_ens.stores.chunks import ChunkReader

SHAPE, CHUNKS = (5, 3, 7), (2, 3, 4)


def values(dtype="f4", shape=SHAPE):
    return (np.arange(np.prod(shape)).reshape(shape) * 3 % 101).astype(dtype)


def v2(path, compressor, dtype="f4", **options):
    array = zarr.create_array(
        path, shape=SHAPE, chunks=CHUNKS, dtype=dtype, zarr_format=2, compressors=compressor, fill_value=0, **options
    )
    array[...] = values(dtype)
    return zarr.open_array(path, mode="r")


def v3(path, compressors, dtype="f4", shards=None, **options):
    array = zarr.create_array(
        path, shape=SHAPE, chunks=CHUNKS, shards=shards, dtype=dtype, compressors=compressors, fill_value=0, **options
    )
    array[...] = values(dtype)
    return zarr.open_array(path, mode="r")


def assert_all_chunks_equal(array):
    reader = ChunkReader(array)
    whole = array[...]
    for at in np.ndindex(*reader.grid):
        out = np.full(reader.chunk_shape, 77, reader.dtype)
        assert reader.decode(at, out)
        place = tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(at, CHUNKS, SHAPE, strict=True))
        inside = tuple(slice(0, s.stop - s.start) for s in place)
        np.testing.assert_array_equal(out[inside], whole[place])
    return reader


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i2", "u1"])
@pytest.mark.parametrize(
    "compressor",
    [
        None,
        numcodecs.Blosc("lz4"),
        numcodecs.Blosc("zstd", shuffle=2),
        numcodecs.Zstd(),
        numcodecs.GZip(),
        numcodecs.LZ4(),
    ],
    ids=str,
)
def test_zarr_2(tmp_path, compressor, dtype):
    reader = assert_all_chunks_equal(v2(tmp_path / "a", compressor, dtype))
    assert reader.direct


@pytest.mark.parametrize("shards", [None, (4, 3, 8)])
@pytest.mark.parametrize(
    "compressors",
    [(), (BloscCodec(),), (ZstdCodec(),), (GzipCodec(),), (Crc32cCodec(),), (BloscCodec(cname="lz4"), Crc32cCodec())],
    ids=["none", "blosc", "zstd", "gzip", "crc32c", "blosc-lz4 and crc32c"],
)
def test_zarr_3(tmp_path, compressors, shards):
    reader = assert_all_chunks_equal(v3(tmp_path / "a", compressors, shards=shards))
    assert reader.direct


def test_an_index_at_the_start_of_a_shard(tmp_path):
    codec = ShardingCodec(chunk_shape=CHUNKS, codecs=[BytesCodec(), ZstdCodec()], index_location="start")
    array = zarr.create_array(
        tmp_path / "a", shape=SHAPE, chunks=(4, 3, 8), dtype="f4", serializer=codec, compressors=()
    )
    array[...] = values()
    assert assert_all_chunks_equal(zarr.open_array(tmp_path / "a", mode="r")).direct


@pytest.mark.parametrize(
    "make",
    [
        lambda path: v2(path, numcodecs.BZ2()),
        lambda path: v2(path, None, order="F"),
        lambda path: v2(path, numcodecs.Zstd(), filters=[numcodecs.Delta("f4")]),
        lambda path: v3(path, (BloscCodec(), ZstdCodec())),
    ],
    ids=["bz2", "fortran", "filter", "two compressors"],
)
def test_what_is_not_understood_is_read_through_zarr(tmp_path, make):
    assert not assert_all_chunks_equal(make(tmp_path / "a")).direct


def test_stores_that_are_no_files_are_read_through_zarr():
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=SHAPE, chunks=CHUNKS, dtype="f4")
    array[...] = values()
    assert not assert_all_chunks_equal(array).direct


@pytest.mark.parametrize("shards", [None, (4, 3, 8)])
def test_sizes_are_those_on_disk(tmp_path, shards):
    array = v3(tmp_path / "a", (ZstdCodec(),), shards=shards)
    reader = ChunkReader(array)
    sizes = [reader.stored_bytes(at) for at in np.ndindex(*reader.grid)]
    assert min(sizes) > 0
    files = [f.stat().st_size for f in (tmp_path / "a" / "c").rglob("*") if f.is_file()]
    index = 0 if shards is None else len(files) * (16 * 4 + 4)
    assert sum(sizes) == sum(files) - index


@pytest.mark.parametrize("shards", [None, (4, 3, 8)])
def test_absent_chunks_are_told(tmp_path, shards):
    array = zarr.create_array(tmp_path / "a", shape=SHAPE, chunks=CHUNKS, shards=shards, dtype="f4", fill_value=np.nan)
    array[2:4] = values()[2:4]
    reader = ChunkReader(zarr.open_array(tmp_path / "a", mode="r"))
    out = np.empty(CHUNKS, "f4")
    present = {at: reader.decode(at, out) for at in np.ndindex(*reader.grid)}
    assert present == {at: at[0] == 1 for at in present}
    assert all((reader.stored_bytes(at) > 0) == there for at, there in present.items())


DAMAGE = st.tuples(st.sampled_from(["cut", "flip", "grow"]), st.floats(0, 1, exclude_max=True))


@settings(max_examples=60, deadline=None)
@given(DAMAGE, st.booleans())
def test_a_checksum_notices_any_damage(tmp_path_factory, damage, sharded):
    path = tmp_path_factory.mktemp("damage") / "a"
    v3(path, (BloscCodec(cname="lz4"), Crc32cCodec()), shards=(4, 3, 8) if sharded else None)
    file = path / "c" / "0" / "0" / "0"
    file.write_bytes(damaged(file.read_bytes(), *damage))
    reader = ChunkReader(zarr.open_array(path, mode="r"))
    expected = values()
    for at in np.ndindex(*reader.grid):
        out = np.full(CHUNKS, 77, "f4")
        try:
            assert reader.decode(at, out)
        except (ValueError, RuntimeError, OSError):
            continue
        place = tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, CHUNKS, strict=True))
        inside = tuple(slice(0, n) for n in expected[place].shape)
        np.testing.assert_array_equal(out[inside], expected[place])


def damaged(content, how, where):
    at = int(where * len(content))
    if how == "cut":
        return content[:at]
    if how == "grow":
        return content[:at] + b"x" + content[at:]
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


@pytest.mark.parametrize("compressor", [None, numcodecs.Blosc("lz4"), numcodecs.Zstd(), numcodecs.GZip()], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_chunk_is_refused_without_a_checksum(tmp_path, compressor, share):
    array = v2(tmp_path / "a", compressor)
    file = tmp_path / "a" / "0.0.0"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises((ValueError, RuntimeError, OSError)):
        ChunkReader(array).decode((0, 0, 0), np.empty(CHUNKS, "f4"))


def test_a_chunk_of_another_size_is_refused(tmp_path):
    array = v2(tmp_path / "a", numcodecs.Blosc("lz4"))
    (tmp_path / "a" / "0.0.0").write_bytes(numcodecs.Blosc("lz4").encode(np.zeros(4, "f4")))
    with pytest.raises(ValueError, match="no complete frame"):
        ChunkReader(array).decode((0, 0, 0), np.empty(CHUNKS, "f4"))
