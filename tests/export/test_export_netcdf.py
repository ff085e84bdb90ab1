"""CF NetCDF: read back by xarray, equal to the store, with the names and units of the conventions."""

import errno

import h5py
import numpy as np
import pytest
import xarray as xr
from export_world import CHANNELS, INIT_TIMES, LEADS

from fuxi_ens.channels import SURFACE, UPPER_AIR, channel
from fuxi_ens.export import netcdf
from fuxi_ens.export.parameters import PARAMETERS, netcdf_name
from fuxi_ens.export.run import Format, export
from fuxi_ens.export.source import Wanted
from fuxi_ens.verify.open import open_forecast


@pytest.fixture(scope="module")
def files(ensemble, tmp_path_factory):
    return export(ensemble[0], tmp_path_factory.mktemp("nc"), Format.NETCDF, Wanted(channels=CHANNELS))


def test_one_file_per_init_time_decodes_without_options_but_for_spans(files):
    assert [path.name for path in files] == ["2018-01-01T0000.nc", "2018-01-01T1200.nc"]
    with xr.open_dataset(files[1], decode_timedelta=True) as found:
        assert found["forecast_reference_time"].values == INIT_TIMES[1]
        np.testing.assert_array_equal(found["forecast_period"].values, LEADS)
        np.testing.assert_array_equal(found["realization"].values, [0, 1, 2])
        np.testing.assert_array_equal(found["time"].values, INIT_TIMES[1] + LEADS[None])
        ends = found["time_bounds"].values[0]
        np.testing.assert_array_equal(ends[:, 1] - ends[:, 0], np.full(3, np.timedelta64(6, "h")))
        np.testing.assert_array_equal(ends[:, 1], INIT_TIMES[1] + LEADS)


@pytest.mark.parametrize("name", CHANNELS)
def test_values_are_those_of_the_store(files, ensemble, name):
    item = channel(name)
    order = ("number", "prediction_timedelta", "latitude", "longitude")
    expected = ensemble[1][item.variable.file_name].isel(time=0)
    with xr.open_dataset(files[0], decode_timedelta=True) as found:
        got = found[netcdf_name(item.variable)].isel(forecast_reference_time=0)
        if item.level is not None:
            got, expected = got.sel(pressure_level=item.level), expected.sel(level=item.level)
        np.testing.assert_array_equal(got.values, expected.transpose(*order).values)
    assert name != "sst" or np.isnan(expected).any()


def test_names_units_and_heights_after_the_conventions(files):
    with xr.open_dataset(files[0], decode_cf=False) as raw:
        assert raw.attrs["Conventions"] == "CF-1.11"
        expected = {
            "z": ("geopotential", "m2 s-2", "time: point", "time"),
            "t": ("air_temperature", "K", "time: point", "time"),
            "t2m": ("air_temperature", "K", "time: point", "time height_2m"),
            "u100": ("eastward_wind", "m s-1", "time: point", "time height_100m"),
            "ttr_6hr": (None, "J m-2", "time: sum", "time"),
            "tp_6hr": ("lwe_thickness_of_precipitation_amount", "m", "time: sum", "time"),
        }
        for name, stated in expected.items():
            found = tuple(raw[name].attrs.get(key) for key in ("standard_name", "units", "cell_methods", "coordinates"))
            assert found == stated, name
        assert raw["height_2m"].item() == 2.0
        assert raw["realization"].attrs["standard_name"] == "realization"
        assert raw["forecast_period"].attrs["units"] == "hours"
        assert raw["time"].attrs["bounds"] == "time_bounds"
        assert raw["pressure_level"].attrs == {
            "standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z",
        }  # fmt: skip


def test_chunks_are_compressed_maps(files):
    with h5py.File(files[0]) as raw:
        assert raw["z"].chunks == (1, 1, 1, 1, 8, 16)
        assert (raw["z"].compression, raw["z"].shuffle) == ("gzip", True)


def test_the_border_reads_what_was_written(files, ensemble):
    for source in (str(files[0]), str(files[0].parent / "*.nc")):
        store = open_forecast(source).require(("z500", "t2m", "tp"))
        assert store.members == 3
        got = store.ensemble("tp", INIT_TIMES[0], LEADS)
        expected = ensemble[1]["total_precipitation_6hr"].isel(time=0)
        order = ("prediction_timedelta", "number", "latitude", "longitude")
        np.testing.assert_array_equal(got.values, expected.transpose(*order).values)


def test_every_variable_has_a_row():
    assert list(PARAMETERS) == [v.short for v in (*UPPER_AIR, *SURFACE)]
    assert {v.short: PARAMETERS[v.short].param_id for v in (*UPPER_AIR, *SURFACE)} == {
        "z": 129, "t": 130, "u": 131, "v": 132, "q": 133, "t2m": 167, "d2m": 168, "sst": 34, "u10m": 165, "v10m": 166,
        "u100m": 131, "v100m": 132, "msl": 151, "ssr": 176, "ssrd": 169, "fdir": 228021, "ttr": 179, "tp": 228228,
    }  # fmt: skip


def test_a_full_disk_is_told_after_hdf5_has_closed_its_file():
    with netcdf._Sink("/dev/full", "r+b") as sink:
        assert sink.write(memoryview(np.zeros(3))) == 24
        with pytest.raises(OSError, match="/dev/full") as told:
            sink.check()
        assert told.value.errno == errno.ENOSPC


def test_a_disk_that_fills_up_leaves_no_file_and_the_next_try_is_whole(ensemble, tmp_path, monkeypatch):
    class Filling(netcdf._Sink):
        def write(self, data):
            if self.tell() > 20_000:
                self.failure = OSError(errno.ENOSPC, "full")
            return super().write(data)

    wanted = Wanted(INIT_TIMES[:1], channels=("t2m", "msl"))
    monkeypatch.setattr(netcdf, "_Sink", Filling)
    with pytest.raises(OSError, match="full"):
        export(ensemble[0], tmp_path, Format.NETCDF, wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["export.json"]
    monkeypatch.undo()
    (path,) = export(ensemble[0], tmp_path, Format.NETCDF, wanted)
    with xr.open_dataset(path, decode_timedelta=True) as found:
        assert found["t2m"].notnull().all()
