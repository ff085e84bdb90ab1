"""What a forecast writes when less is asked for: lead times, grid, bits; and what it says of files and room before."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from stored_forecast import write_frames

from fuxi_ens.data.regrid import Regridder
from fuxi_ens.forecast.layout import Layout
from fuxi_ens.forecast.shard import FieldMaker, Shard
from fuxi_ens.forecast.store import ForecastStore
from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.stores.finished import finished

CHANNELS = ("z500", "t500", "t850", "t2m", "sst", "tp")
INIT_TIMES = pd.date_range("2018-01-01", periods=2, freq="12h").to_numpy().astype("datetime64[ns]")
LEADS = np.arange(1, 6) * np.timedelta64(6, "h").astype("timedelta64[ns]")
FINE, COARSE = LatLonGrid(13, 24), LatLonGrid(7, 12)
PLAIN_READER = """
import sys, warnings
warnings.simplefilter("error")
import xarray as xr
store = xr.open_zarr(sys.argv[1])
assert "fuxi_ens" not in sys.modules
spans = store.prediction_timedelta
print(spans.dtype.str, spans.values.astype("timedelta64[h]").astype(int).tolist())
print(store.time.dtype.kind, float(store["2m_temperature"].isel(time=0).min()))
"""


def layout(**changes):
    values = {"members": 3, "lead_times": LEADS, "channels": CHANNELS, "grid": FINE, "leads_per_shard": 2}
    return Layout(**{"init_times": INIT_TIMES, **values, **changes})


def open_store(folder, **changes):
    return ForecastStore(folder / "f.zarr", layout(**changes), {"config_hash": "a", "weights_hash": "b"})


def make_frames(members=3, leads=5, grid=FINE, seed=1):
    """[M, L, C, H, W], with missing values in sst."""
    shape = (members, leads, len(CHANNELS), grid.height, grid.width)
    frames = np.random.default_rng(seed).uniform(200.0, 300.0, shape).astype("f4")
    frames[:, :, CHANNELS.index("sst"), 3:5, 2:9] = np.nan
    return frames


def stored(folder):
    with xr.open_zarr(folder / "f.zarr", chunks=None) as dataset:
        return dataset.load()


class TestGrid:
    @pytest.fixture
    def regridded(self, tmp_path):
        write_frames(open_store(tmp_path, grid=COARSE), INIT_TIMES[0], 0, make_frames(), grid=FINE)
        return stored(tmp_path).isel(time=0)

    def test_each_member_is_regridded_as_an_analysis_is(self, regridded):
        regrid = Regridder(FINE.latitude, FINE.longitude, COARSE, "fine")
        frames = make_frames()
        for name, channel, factor in (("2m_temperature", "t2m", 1), ("total_precipitation_6hr", "tp", 1e3)):
            expected = regrid(frames[:, :, CHANNELS.index(channel)]) / np.float32(factor)
            np.testing.assert_array_equal(regridded[name], expected)

    def test_global_means_are_kept(self, regridded):
        def mean(fields, grid):
            return (fields.mean(axis=-1) * area_weights(grid.latitude)).mean(axis=-1)

        fine = make_frames()[:, :, CHANNELS.index("t2m")].astype("f8")
        np.testing.assert_allclose(mean(regridded["2m_temperature"].values, COARSE), mean(fine, FINE), rtol=1e-6)

    def test_points_without_a_value_do_not_count(self, regridded):
        sst = regridded["sea_surface_temperature"]
        assert 0 < int(sst.isnull().sum()) < sst.size
        assert sst.min() >= 200

    def test_coordinates_are_those_of_the_coarse_grid(self, regridded):
        np.testing.assert_allclose(regridded.latitude, np.linspace(90, -90, 7))
        np.testing.assert_allclose(regridded.longitude, np.arange(12) * 30.0)


class TestBits:
    def test_rounding_is_half_to_even_and_leaves_missing_values(self, tmp_path):
        store, frames = open_store(tmp_path, keep_bits={"t2m": 7, "sst": 3}), make_frames()
        write_frames(store, INIT_TIMES[0], 0, frames)
        got = stored(tmp_path).isel(time=0)
        t2m = frames[:, :, CHANNELS.index("t2m")]
        error = np.abs(got["2m_temperature"].values / t2m - 1)
        assert 2.0**-10 < error.max() <= 2.0**-8
        np.testing.assert_array_equal(got["2m_temperature"].values.view("i4") & (2**16 - 1), 0)
        sst = frames[:, :, CHANNELS.index("sst")]
        np.testing.assert_array_equal(np.isnan(got["sea_surface_temperature"]), np.isnan(sst))

    def test_other_variables_keep_all(self, tmp_path):
        frames = make_frames()
        write_frames(open_store(tmp_path, keep_bits={"t2m": 7}), INIT_TIMES[0], 0, frames)
        got = stored(tmp_path)["geopotential"].isel(time=0).sel(level=500)
        np.testing.assert_array_equal(got, frames[:, :, CHANNELS.index("z500")])

    def test_the_store_says_it(self, tmp_path):
        open_store(tmp_path, keep_bits={"t2m": 7})
        attributes = {name: array.attrs.get("quantization") for name, array in stored(tmp_path).data_vars.items()}
        assert attributes.pop("2m_temperature") == "mantissa rounded to 7 bits"
        assert set(attributes.values()) == {None}

    def test_files_become_smaller(self, tmp_path):
        def size(name, **changes):
            write_frames(open_store(tmp_path / name, **changes), INIT_TIMES[0], 0, make_frames())
            return sum(path.stat().st_size for path in (tmp_path / name / "f.zarr" / "2m_temperature").iterdir())

        assert size("few", keep_bits={"t2m": 7}) < 0.6 * size("all")


class TestBlocks:
    @pytest.mark.parametrize("members_per_item", [1, 2, 3, 8])
    @pytest.mark.parametrize("leads_per_shard", [1, 2, 8])
    def test_blocks_and_shards_do_not_change_the_values(self, tmp_path, members_per_item, leads_per_shard):
        changes = {"members_per_item": members_per_item, "leads_per_shard": leads_per_shard}
        store, frames = open_store(tmp_path, **changes), make_frames()
        for numbers in reversed(store.layout.blocks):
            write_frames(store, INIT_TIMES[1], 0, frames[numbers[0] : numbers[-1] + 1], numbers=numbers)
        got = stored(tmp_path)
        np.testing.assert_array_equal(got["2m_temperature"][1], frames[:, :, CHANNELS.index("t2m")])
        np.testing.assert_array_equal(got["temperature"].sel(level=850)[1], frames[:, :, CHANNELS.index("t850")])
        assert got["2m_temperature"][0].isnull().all()

    def test_a_block_is_written_without_touching_the_files_of_others(self, tmp_path):
        store, frames = open_store(tmp_path, members_per_item=2), make_frames()
        write_frames(store, INIT_TIMES[0], 0, frames[:2], numbers=range(2))
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "f.zarr").rglob("c.*")}
        write_frames(store, INIT_TIMES[0], 0, frames[2:], numbers=range(2, 3))
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def test_an_init_time_is_finished_with_its_last_block(self, tmp_path):
        store = open_store(tmp_path, members_per_item=2)
        store.finish(INIT_TIMES[0], range(2))
        store.finish(INIT_TIMES[1], range(2))
        store.finish(INIT_TIMES[1], range(2, 3))
        assert finished(tmp_path / "f.zarr", INIT_TIMES).tolist() == [False, True]
        assert store.is_finished(INIT_TIMES[0], range(2))
        assert not store.is_finished(INIT_TIMES[0], range(2, 3))

    def test_members_of_a_lead_time_may_come_in_several_calls_and_any_order(self):
        shape, frames = layout(leads_per_shard=1), make_frames(leads=1)
        maker, whole, parts = FieldMaker(shape, FINE), Shard(shape, range(3), 0), Shard(shape, range(3), 0)
        maker.fill(whole, 0, range(3), frames[:, 0])
        maker.fill(parts, 0, [2, 0], frames[[2, 0], 0])
        assert not parts.is_full
        maker.fill(parts, 0, [1], frames[[1], 0])
        assert parts.is_full
        assert whole.is_full
        for (name, a), (_, b) in zip(whole.take(), parts.take(), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


class TestLeftovers:
    def test_what_a_killed_writer_left_is_replaced_and_removed(self, tmp_path):
        store, frames = open_store(tmp_path), make_frames()
        write_frames(store, INIT_TIMES[0], 0, make_frames(seed=2)[:, :2])
        shard = tmp_path / "f.zarr" / "2m_temperature" / "c.0.0.0.0.0"
        torn = shard.with_suffix(".0123456789abcdef.partial")
        torn.write_bytes(b"half")
        shard.write_bytes(shard.read_bytes()[:50])
        write_frames(store, INIT_TIMES[0], 0, frames[:, :2])
        assert not torn.exists()
        np.testing.assert_array_equal(stored(tmp_path)["2m_temperature"][0, :, :2], frames[:, :2, 3])

    def test_a_shard_without_any_value_is_no_file(self, tmp_path):
        store = open_store(tmp_path)
        write_frames(store, INIT_TIMES[0], 0, np.full_like(make_frames(), np.nan))
        store.finish(INIT_TIMES[0], range(3))
        assert stored(tmp_path)["2m_temperature"].isnull().all()


class TestCounts:
    @pytest.mark.parametrize(
        "changes",
        [{}, {"members_per_item": 2}, {"leads_per_shard": 1}, {"leads_per_shard": 9}, {"channels": ("t2m", "tp")}],
    )
    def test_files_and_inodes_are_those_of_the_complete_store(self, tmp_path, changes):
        store = open_store(tmp_path, **changes)
        columns = [CHANNELS.index(name) for name in store.layout.channels]
        for init_time in INIT_TIMES:
            for numbers in store.layout.blocks:
                frames = make_frames(members=len(numbers))[:, :, columns]
                write_frames(store, init_time, 0, frames, numbers=numbers)
                store.finish(init_time, numbers)
        paths = list((tmp_path / "f.zarr").rglob("*"))
        fields = {variable.name for variable in store.layout.variables}
        assert sum(path.parent.name in fields and path.name != "zarr.json" for path in paths) == store.layout.files
        assert len(paths) + 1 == store.layout.inodes

    def test_a_shard_holds_what_the_layout_says(self):
        shape = layout()
        shard = Shard(shape, range(3), 0)
        assert shape.shard_bytes == sum(array.nbytes for array in shard._fields.values())

    def test_sizes_are_before_compression(self):
        assert layout().frame_bytes == 4 * len(CHANNELS) * 13 * 24
        assert replace(layout(), grid=COARSE).frame_bytes == 4 * len(CHANNELS) * 7 * 12


def test_a_reader_that_knows_nothing_of_us_gets_times_and_time_spans(tmp_path):
    store, frames = open_store(tmp_path), make_frames()
    write_frames(store, INIT_TIMES[0], 0, frames)
    store.finish(INIT_TIMES[0], range(3))
    done = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN_READER, tmp_path / "f.zarr"], capture_output=True, text=True, check=True
    )
    spans, times = done.stdout.splitlines()
    assert spans.startswith("<m8[")
    assert spans.endswith("[6, 12, 18, 24, 30]")
    kind, smallest = times.split()
    assert kind == "M"
    assert float(smallest) == frames[:, :, CHANNELS.index("t2m")].min()
