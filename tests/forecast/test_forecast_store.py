"""The ensemble store is a WeatherBench 2 forecast, and says truly what is in it."""

import json
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from stored_forecast import write_frames

from fuxi_ens.errors import StoreError
from fuxi_ens.forecast.layout import Layout
from fuxi_ens.forecast.store import ForecastStore
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores.finished import finished

IN_MODEL = ("z500", "z850", "t500", "t850", "q850", "t2m", "ssr", "tp")
WRITTEN = ("z500", "t850", "q850", "t2m", "ssr", "tp")
INIT_TIMES = pd.date_range("2018-01-01", periods=2, freq="12h").to_numpy().astype("datetime64[ns]")
ALL = range(3)
LEADS = np.arange(1, 6) * np.timedelta64(6, "h").astype("timedelta64[ns]")
PROVENANCE = {"config_hash": "abc", "weights_hash": "def", "seed": 7}


def layout(**changes):
    values = {"init_times": INIT_TIMES, "members": 3, "lead_times": LEADS, "channels": WRITTEN}
    return Layout(**{**values, "grid": LatLonGrid(4, 8), "leads_per_shard": 2, **changes})


def open_store(path, provenance=PROVENANCE, **changes):
    return ForecastStore(path, layout(**changes), provenance)


@pytest.fixture
def frames():
    """Members in model units, [M, L, C, H, W]."""
    return np.random.default_rng(1).uniform(1.0, 2.0, (3, 5, len(IN_MODEL), 4, 8)).astype("f4")


def write(store, init_time, frames):
    write_frames(store, init_time, 0, frames, IN_MODEL)
    store.finish(init_time, ALL)


@pytest.fixture
def path(tmp_path, frames):
    store = open_store(tmp_path / "forecast.zarr")
    write(store, INIT_TIMES[0], frames)
    write(store, INIT_TIMES[1], 2 * frames)
    return tmp_path / "forecast.zarr"


@pytest.fixture
def opened(path):
    with xr.open_zarr(path, chunks=None, decode_timedelta=True) as dataset:
        yield dataset


def test_plain_open_zarr_gives_weatherbench_names_and_dims(opened):
    surface = ("time", "number", "prediction_timedelta", "latitude", "longitude")
    upper = ("time", "number", "prediction_timedelta", "level", "latitude", "longitude")
    assert {name: array.dims for name, array in opened.data_vars.items()} == {
        "geopotential": upper,
        "temperature": upper,
        "specific_humidity": upper,
        "2m_temperature": surface,
        "surface_net_solar_radiation_6hr": surface,
        "total_precipitation_6hr": surface,
    }


def test_coordinates_are_times_spans_and_degrees(opened):
    assert np.array_equal(opened["time"].values, INIT_TIMES)
    assert opened["prediction_timedelta"].dtype.kind == "m"
    assert np.array_equal(opened["prediction_timedelta"].values, LEADS)
    assert opened["number"].values.tolist() == [0, 1, 2]
    assert opened["level"].values.tolist() == [500, 850]
    np.testing.assert_allclose(opened["latitude"], [67.5, 22.5, -22.5, -67.5])
    np.testing.assert_allclose(opened["longitude"], np.arange(8) * 45.0)


def test_lead_times_survive_a_reader_that_is_told_nothing(path):
    with xr.open_zarr(path, chunks=None) as dataset:
        assert np.array_equal(dataset["prediction_timedelta"].values.astype("timedelta64[ns]"), LEADS)


@pytest.mark.parametrize(
    ("name", "channel", "factor", "units"),
    [
        ("2m_temperature", "t2m", 1.0, "K"),
        ("total_precipitation_6hr", "tp", 1e-3, "m"),
        ("surface_net_solar_radiation_6hr", "ssr", 3600.0, "J m**-2"),
    ],
)
def test_values_are_in_the_units_of_era5(opened, frames, name, channel, factor, units):
    expected = frames[:, :, IN_MODEL.index(channel)] * factor
    for row, times in enumerate((1, 2)):
        np.testing.assert_allclose(opened[name].values[row], times * expected, rtol=1e-6)
    assert opened[name].attrs["units"] == units


@pytest.mark.parametrize(
    ("name", "level", "channel", "factor"),
    [("geopotential", 500, "z500", 1), ("temperature", 850, "t850", 1), ("specific_humidity", 850, "q850", 1e-3)],
)
def test_levels_hold_what_was_asked_for_and_nothing_else(opened, frames, name, level, channel, factor):
    got = opened[name].isel(time=0)
    np.testing.assert_allclose(got.sel(level=level), frames[:, :, IN_MODEL.index(channel)] * factor, rtol=1e-6)
    assert got.sel(level=850 if level == 500 else 500).isnull().all()


def test_what_nobody_wrote_reads_as_missing(tmp_path, frames):
    store = open_store(tmp_path / "f.zarr")
    write_frames(store, INIT_TIMES[0], 0, frames[:, :2], IN_MODEL)
    with xr.open_zarr(tmp_path / "f.zarr", chunks=None, decode_timedelta=True) as dataset:
        t2m = dataset["2m_temperature"]
        assert t2m[0, :, :2].notnull().all()
        assert t2m[0, :, 2:].isnull().all()
        assert t2m[1].isnull().all()


def test_attributes_say_who_made_it(opened):
    assert opened.attrs["config_hash"] == "abc"
    assert opened.attrs["seed"] == 7
    assert opened.attrs["Conventions"] == "CF-1.11"


def test_one_shard_per_variable_init_time_and_run_of_lead_times(path):
    chunks = [p for p in (path / "2m_temperature").iterdir() if p.name != "zarr.json"]
    assert len(chunks) == 2 * 3
    chunk = json.loads((path / "2m_temperature" / "zarr.json").read_text())["codecs"][0]["configuration"]["chunk_shape"]
    assert chunk == [1, 3, 1, 4, 8]


def test_an_init_time_is_finished_when_it_is_marked(tmp_path, frames):
    store = open_store(tmp_path / "f.zarr")
    write_frames(store, INIT_TIMES[0], 0, frames, IN_MODEL)
    assert not store.is_finished(INIT_TIMES[0], ALL)
    store.finish(INIT_TIMES[0], ALL)
    assert [open_store(tmp_path / "f.zarr").is_finished(time, ALL) for time in INIT_TIMES] == [True, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": {**PROVENANCE, "config_hash": "xyz"}},
        {"provenance": {**PROVENANCE, "weights_hash": "xyz"}},
        {"members": 4},
        {"lead_times": LEADS[:4]},
        {"init_times": INIT_TIMES + np.timedelta64(6, "h")},
    ],
)
def test_another_forecast_in_the_same_place_is_refused(path, changes):
    with pytest.raises(StoreError, match=r"holds another forecast .* delete it, or choose"):
        open_store(path, **changes)


def test_an_upgrade_of_libraries_does_not_make_another_forecast(path):
    open_store(path, {**PROVENANCE, "libraries": "newer"})


def test_an_init_time_of_a_store_that_is_gone_is_not_finished(path):
    assert finished(path, INIT_TIMES).all()
    shutil.rmtree(path)
    assert not finished(path, INIT_TIMES).any()
    open_store(path)
    assert not finished(path, INIT_TIMES).any()


def test_markers_say_init_time_and_members_as_users_write_them(path):
    markers = path / ".complete"
    assert sorted(marker.name for marker in markers.iterdir()) == ["2018-01-01T00:00_0-2", "2018-01-01T12:00_0-2"]


def test_a_store_that_is_none_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata", category=zarr.errors.ZarrUserWarning)
        xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "f.zarr", zarr_format=3, consolidated=True)
    with pytest.raises(StoreError, match="is not a forecast store"):
        open_store(tmp_path / "f.zarr")


def test_a_creation_that_was_killed_is_done_again(tmp_path):
    (tmp_path / ".f.zarr.0123.partial" / "junk").mkdir(parents=True)
    open_store(tmp_path / "f.zarr")
    with xr.open_zarr(tmp_path / "f.zarr", chunks=None, decode_timedelta=True) as dataset:
        assert len(dataset.data_vars) == 6
