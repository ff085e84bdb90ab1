import json

import numpy as np
import pytest
import xarray as xr
import yaml
import zarr
from hypothesis import given
from hypothesis import strategies as st
from makers import (
    CHANNELS,
    analysis_dataset,
    make_analysis,
    times,
    write_store,
)
from prepare_world import SHARDS, VARIABLES, WHEN, frames, run, shards, target, values
from tiny_run import digest

from fuxi_ens.config import Config
from fuxi_ens.data.preparation.estimate import estimate
from fuxi_ens.data.preparation.plan import make_plan
from fuxi_ens.data.preparation.shard import rounded
from fuxi_ens.data.regrid import Regridder
from fuxi_ens.data.static import static_fields
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores import open_store


def test_frames_are_those_of_the_source_to_the_last_bit(prepared):
    np.testing.assert_array_equal(frames(target(prepared)), frames(prepared / "source.zarr"))


def test_an_hourly_archive_in_its_own_orientation_becomes_the_same_store(tmp_path):
    """South to north, from 180 degrees west, more levels and variables than asked for, accumulations per hour."""
    more = (
        "z500",
        "z700",
        "z850",
        "t500",
        "t700",
        "t850",
        "q500",
        "q700",
        "q850",
        "t2m",
        "d2m",
        "sst",
        "u10m",
        "v10m",
        "msl",
        "tp",
    )
    when = times("2015-12-31T18", "2016-01-02", 1)
    dataset = analysis_dataset(more, when, hourly=True)
    east = ((dataset["longitude"].values + 180.0) % 360.0) - 180.0
    dataset = dataset.assign_coords(longitude=east).sortby("longitude")
    write_store(dataset, tmp_path / "source.zarr", ascending=True, zarr_format=2, chunk=1)
    asked = times("2016-01-01", "2016-01-02")
    run(tmp_path, {"prepare.periods": [{"start": "2016-01-01", "end": "2016-01-02"}]})
    found, expected = frames(target(tmp_path), when=asked), frames(tmp_path / "source.zarr", when=asked)
    sums = [CHANNELS.index("tp")]
    np.testing.assert_array_equal(np.delete(found, sums, 1), np.delete(expected, sums, 1))
    # Six hours are added before the change of units there, after it here.
    np.testing.assert_allclose(found[:, sums], expected[:, sums], rtol=1e-6)
    np.testing.assert_array_equal(open_store(str(target(tmp_path))).dataset["time"].values, asked)
    np.testing.assert_array_equal(
        static_fields(str(target(tmp_path)), LatLonGrid(8, 16)),
        static_fields(str(tmp_path / "source.zarr"), LatLonGrid(8, 16)),
    )


def test_layout_is_that_of_weatherbench(prepared):
    with xr.open_zarr(target(prepared), chunks=None) as found:
        assert found["temperature"].dims == ("time", "level", "latitude", "longitude")
        assert found["total_precipitation_6hr"].dims == ("time", "latitude", "longitude")
        assert found["specific_humidity"].attrs["units"] == "kg kg**-1"
        np.testing.assert_array_equal(found["level"], [500, 850])
        assert found["latitude"][0] > found["latitude"][-1]
        assert "level" not in found["2m_temperature"].coords
        # A level that only another variable has.
        assert np.isnan(found["temperature"].sel(level=500)).all()
        assert found.attrs["analysis_store"].endswith("source.zarr")
        assert "2016-02-01" in found.attrs["periods"]
        assert found.attrs["config_hash"]
    group = zarr.open_group(target(prepared), mode="r")
    array = group["temperature"]
    assert array.shards == (26, 2, 8, 16)
    assert array.chunks == (1, 2, 8, 16)
    assert array.dtype == np.dtype("f4")
    assert np.isnan(array.fill_value)
    sharding = array.metadata.to_dict()["codecs"][0]["configuration"]
    assert [codec["name"] for codec in sharding["codecs"]] == ["bytes", "blosc", "crc32c"]
    assert group["land_sea_mask"].chunks == (8, 16)


@pytest.mark.parametrize("codec", ["blosc-lz4", "blosc-zstd"])
def test_every_codec_gives_the_same_numbers(folder, prepared, codec):
    run(folder, {"prepare.codec": codec, "prepare.codec_level": 1})
    np.testing.assert_array_equal(frames(target(folder)), frames(target(prepared)))
    assert shards(folder).keys() == shards(prepared).keys()


def test_a_bit_that_flips_on_the_disk_is_noticed(folder):
    run(folder)
    file = target(folder) / "2m_temperature/c/1/0/0"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)
    with pytest.raises(StoreError, match="2m_temperature at 2016-02-0"):
        frames(target(folder), ("t2m",), WHEN[26:52])


def test_the_manifest_names_every_shard_with_its_checksum(prepared):
    by_path = shards(prepared)
    files = digest(target(prepared))
    assert {path for path in files if "/c/" in path and path.split("/")[0] in VARIABLES} == set(by_path)
    assert len(by_path) == SHARDS
    for path, shard in by_path.items():
        assert files[path] == shard["sha256"]
        assert (target(prepared) / path).stat().st_size == shard["bytes"]


def test_a_coarser_grid_is_regridded(tmp_path):
    make_analysis(tmp_path / "source.zarr", when=WHEN, height=25, width=48)
    run(tmp_path)
    coarse = LatLonGrid(8, 16)
    fine = frames(tmp_path / "source.zarr", grid=LatLonGrid(25, 48))
    regrid = Regridder(LatLonGrid(25, 48).latitude, LatLonGrid(25, 48).longitude, coarse, "source.zarr")
    found = frames(target(tmp_path))
    np.testing.assert_allclose(found, regrid(fine), rtol=1e-5, equal_nan=True)
    assert np.isnan(found[:, CHANNELS.index("sst")]).any()
    assert found[:, CHANNELS.index("tp")].min() >= 0.0
    with xr.open_zarr(target(tmp_path), chunks=None) as store:
        assert 0.0 < float(store["land_sea_mask"].values.mean()) < 1.0
        assert ((store["land_sea_mask"].values > 0) & (store["land_sea_mask"].values < 1)).any()


def test_surface_fields_alone_need_no_levels(folder, prepared):
    names = ["t2m", "msl"]
    changes = {"model.channels": names, "forecast.channels": names, "verify.channels": names, "report": None}
    run(folder, changes)
    found = frames(target(folder), tuple(names))
    np.testing.assert_array_equal(found, frames(target(prepared), tuple(names)))
    with xr.open_zarr(target(folder), chunks=None) as store:
        assert "level" not in store.variables


@given(
    bits=st.integers(1, 23),
    numbers=st.lists(st.floats(-(2.0**99), 2.0**99, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30), min_size=1),
)
def test_rounding_keeps_the_relative_error_below_half_a_kept_bit(bits, numbers):
    array = np.array(numbers, np.float32)
    result = rounded(array, bits).astype(np.float64)
    assert np.all(np.abs(result - array) <= np.abs(array.astype(np.float64)) * 2.0 ** -(bits + 1))
    mantissa = rounded(array, bits).view(np.uint32) & 0x7FFFFF
    assert np.all(mantissa & ((1 << (23 - bits)) - 1) == 0)


@pytest.mark.parametrize("bits", [1, 7, 22, 23])
def test_rounding_keeps_missing_points_missing(bits):
    patterns = np.array([0x7FC00000, 0x7FFFFFFF, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(rounded(patterns, bits)).all()


def test_only_the_variables_named_in_keep_bits_are_rounded(folder, prepared):
    run(folder, {"prepare.keep_bits": {"z": 9}})
    found, exact = frames(target(folder)), frames(target(prepared))
    z = [i for i, name in enumerate(CHANNELS) if name.startswith("z")]
    np.testing.assert_array_equal(np.delete(found, z, 1), np.delete(exact, z, 1))
    error = np.abs(found[:, z] - exact[:, z]) / exact[:, z]
    assert 0 < error.max() <= 2.0**-10
    size = {
        name: sum(s["bytes"] for p, s in shards(name).items() if p.startswith("geopotential/"))
        for name in (folder, prepared)
    }
    assert size[folder] < 0.8 * size[prepared]


def test_the_estimate_writes_nothing_and_comes_true(folder):
    config = Config.model_validate(values(folder))
    before = sorted(folder.iterdir())
    found = estimate(config, make_plan(config))
    assert sorted(folder.iterdir()) == before
    run(folder)
    files = [path for path in target(folder).rglob("*") if path.is_file()]
    stored = sum(shard["bytes"] for shard in shards(folder).values())
    assert found.files == len(files)
    assert found.shards == len(shards(folder)) == SHARDS
    assert found.disk_bytes == pytest.approx(stored, rel=0.3)
    assert found.decoded_bytes == len(WHEN) * len(CHANNELS) * 8 * 16 * 4
    assert (found.first_time, found.last_time, found.regridded) == ("2016-01-01T00:00", "2018-01-05T18:00", False)
    assert found.hours > 0


def test_the_command_estimates_then_writes_then_has_nothing_to_do(folder, capsys):
    import pipelines.prepare as command_module

    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(values(folder)))
    command_module.prepare(file, dry_run=True, as_json=True)
    assert json.loads(capsys.readouterr().out)["shards"] == SHARDS
    command_module.prepare(file, dry_run=True)
    assert "50 files" in " ".join(capsys.readouterr().out.split())
    assert not target(folder).exists()
    command_module.prepare(file, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"store": str(target(folder)), "shards": SHARDS, "written": SHARDS}
    command_module.prepare(file, as_json=True)
    assert json.loads(capsys.readouterr().out)["written"] == 0
