"""GRIB2: read back by ecCodes and by cfgrib; every key right, every value within the stated error."""

import warnings

import numpy as np
import pytest
import xarray as xr
from export_world import CHANNELS, INIT_TIMES, LEADS
from makers import make_ensemble

from fuxi_ens.channels import channel
from fuxi_ens.errors import UserError
from fuxi_ens.export.run import Format, export
from fuxi_ens.export.source import Wanted
from fuxi_ens.verify.open import open_forecast

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eccodes

    from fuxi_ens.export.grib import bits_for

# shortName, type of level, level, half of the step of the packed numbers in GRIB units.
KEYS = {
    "z500": ("z", "isobaricInhPa", 500, 0.5),
    "z850": ("z", "isobaricInhPa", 850, 0.5),
    "t850": ("t", "isobaricInhPa", 850, 0.005),
    "q850": ("q", "isobaricInhPa", 850, 0.02 * 2.0**-16),
    "t2m": ("2t", "heightAboveGround", 2, 0.005),
    "sst": ("sst", "surface", 0, 0.005),
    "u10m": ("10u", "heightAboveGround", 10, 0.005),
    "u100m": ("u", "heightAboveGround", 100, 0.005),
    "msl": ("msl", "meanSea", 0, 0.5),
    "ssr": ("ssr", "surface", 0, 500.0),
    "ttr": ("ttr", "nominalTop", 0, 500.0),
    "tp": ("tp", "surface", 0, 0.005),
}
ACCUMULATED = ("ssr", "ttr", "tp")


def messages(path):
    """Keys and values of all messages, by channel, lead time in hours and member."""
    names = {(short, kind, level): name for name, (short, kind, level, _) in KEYS.items()}
    found = {}
    with path.open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
            get = {
                key: eccodes.codes_get(handle, key)
                for key in (
                    "shortName", "typeOfLevel", "level", "dataType", "number", "numberOfForecastsInEnsemble", "units",
                    "productDefinitionTemplateNumber", "stepRange", "stepType", "dataDate", "dataTime", "gridType",
                    "Ni", "Nj", "validityDate", "validityTime", "latitudeOfFirstGridPointInDegrees", "packingType",
                    "longitudeOfFirstGridPointInDegrees", "latitudeOfLastGridPointInDegrees", "bitmapPresent",
                    "longitudeOfLastGridPointInDegrees", "jScansPositively", "iDirectionIncrementInDegrees", "endStep",
                    "typeOfEnsembleForecast",
                )
            }  # fmt: skip
            eccodes.codes_set(handle, "missingValue", 1e30)
            values = eccodes.codes_get_values(handle).reshape(get["Nj"], get["Ni"])
            name = names[get["shortName"], get["typeOfLevel"], get["level"]]
            found[name, int(get["endStep"]), get["number"]] = get, np.where(values == 1e30, np.nan, values)
            eccodes.codes_release(handle)
    return found


@pytest.fixture(scope="module")
def written(ensemble, tmp_path_factory):
    paths = export(ensemble[0], tmp_path_factory.mktemp("grib"), Format.GRIB, Wanted(channels=CHANNELS))
    return paths, messages(paths[1])


def test_there_is_one_message_per_field(written):
    assert set(written[1]) == {(name, lead, number) for name in CHANNELS for lead in (6, 12, 18) for number in range(3)}


@pytest.mark.parametrize("name", CHANNELS)
def test_values_are_within_the_stated_error(written, ensemble, name):
    item = channel(name)
    factor = 1e3 if name == "tp" else 1.0
    stored = ensemble[1][item.variable.file_name].isel(time=1).astype("f8")
    stored = stored if item.level is None else stored.sel(level=item.level)
    for lead in (6, 12, 18):
        for number in range(3):
            expected = factor * stored.sel(number=number, prediction_timedelta=np.timedelta64(lead, "h")).values
            got = written[1][name, lead, number][1]
            np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
            assert np.nanmax(np.abs(got - expected)) <= KEYS[name][3]


@pytest.mark.parametrize("name", CHANNELS)
def test_keys(written, name):
    keys = written[1][name, 12, 2][0]
    summed = name in ACCUMULATED
    expected = {
        "dataType": "pf", "number": 2, "numberOfForecastsInEnsemble": 3, "typeOfEnsembleForecast": 255,
        "productDefinitionTemplateNumber": 11 if summed else 1,
        "stepType": "accum" if summed else "instant", "stepRange": "6-12" if summed else "12",
        "dataDate": 20180101, "dataTime": 1200, "validityDate": 20180102, "validityTime": 0,
        "gridType": "regular_ll", "Ni": 16, "Nj": 8, "jScansPositively": 0, "iDirectionIncrementInDegrees": 22.5,
        "latitudeOfFirstGridPointInDegrees": 78.75, "latitudeOfLastGridPointInDegrees": -78.75,
        "longitudeOfFirstGridPointInDegrees": 0.0, "longitudeOfLastGridPointInDegrees": 337.5,
        "packingType": "grid_ccsds", "bitmapPresent": int(name == "sst"),
    }  # fmt: skip
    assert {key: keys[key] for key in expected} == expected
    assert name != "tp" or keys["units"] == "kg m**-2"


@pytest.mark.filterwarnings("ignore")
def test_cfgrib_reads_members_and_steps(written, ensemble):
    with xr.open_dataset(
        written[0][0],
        engine="cfgrib",
        decode_timedelta=True,
        backend_kwargs={"indexpath": "", "filter_by_keys": {"shortName": "z"}},
    ) as found:
        assert dict(found.sizes) == {"number": 3, "step": 3, "isobaricInhPa": 2, "latitude": 8, "longitude": 16}
        np.testing.assert_array_equal(found["step"].values, LEADS)
        assert found["time"].values == INIT_TIMES[0]
        expected = ensemble[1]["geopotential"].isel(time=0)
        expected = expected.transpose("number", "prediction_timedelta", "level", "latitude", "longitude")
        got = found["z"].sel(isobaricInhPa=[500, 850]).transpose("number", "step", ...)
        np.testing.assert_allclose(got.values, expected.values, rtol=0, atol=0.54)  # and float32
    with xr.open_dataset(
        written[0][0],
        engine="cfgrib",
        backend_kwargs={"indexpath": "", "filter_by_keys": {"shortName": "sst"}},
    ) as found:
        np.testing.assert_array_equal(
            np.isnan(found["sst"].isel(number=0, step=0).values),
            np.isnan(ensemble[1]["sea_surface_temperature"].isel(time=0, number=0, prediction_timedelta=0).values),
        )


def test_the_border_reads_what_was_written(written, ensemble):
    store = open_forecast(str(written[0][0])).require(("z500", "t2m"))
    got = store.ensemble("t2m", INIT_TIMES[0], LEADS)
    expected = ensemble[1]["2m_temperature"].isel(time=0).transpose("prediction_timedelta", "number", ...)
    np.testing.assert_allclose(got.values, expected.values, rtol=0, atol=0.0051)


def test_a_control_member_is_cf(ensemble, tmp_path):
    data = ensemble[1][["2m_temperature"]].assign_attrs(control_member=0)
    data.to_zarr(tmp_path / "f.zarr", zarr_format=2)
    (path, _) = export(str(tmp_path / "f.zarr"), tmp_path / "out", Format.GRIB, Wanted(lead_hours=[6]))
    found = messages(path)
    kinds = {number: (keys["dataType"], keys["typeOfEnsembleForecast"]) for (_, _, number), (keys, _) in found.items()}
    assert kinds == {0: ("cf", 1), 1: ("pf", 255), 2: ("pf", 255)}


def test_fields_without_values_are_left_out_and_told(ensemble, tmp_path, caplog):
    data = ensemble[1][["2m_temperature"]].copy(deep=True)
    data["2m_temperature"][0, 1, 2] = np.nan
    data.to_zarr(tmp_path / "f.zarr", zarr_format=2)
    paths = export(str(tmp_path / "f.zarr"), tmp_path / "out", Format.GRIB, Wanted())
    assert ("t2m", 18, 1) not in messages(paths[0])
    assert len(messages(paths[0])) == 8
    assert "8 messages; 1 fields hold no value" in caplog.text


def test_constant_fields_keep_their_value(tmp_path):
    data = make_ensemble(tmp_path / "a", channels=("tp",), init_times=INIT_TIMES[:1], lead_times=LEADS, members=1)
    (data * 0 + np.float32(0.0025)).to_zarr(tmp_path / "f.zarr", zarr_format=2)
    (path,) = export(str(tmp_path / "f.zarr"), tmp_path / "out", Format.GRIB, Wanted())
    for _, values in messages(path).values():
        np.testing.assert_allclose(values, 2.5, rtol=1e-6)


def test_steps_that_are_no_whole_hours_are_refused(tmp_path):
    leads = np.array([30, 60], "m8[m]").astype("m8[ns]")
    data = make_ensemble(tmp_path / "a", channels=("t2m",), init_times=INIT_TIMES[:1], lead_times=LEADS[:2])
    data.assign_coords(prediction_timedelta=leads).to_zarr(
        tmp_path / "f.zarr", zarr_format=2, encoding={"prediction_timedelta": {"units": "minutes", "dtype": "int64"}}
    )
    with pytest.raises(UserError, match=r"lead time of 0\.5 h; use netcdf"):
        export(str(tmp_path / "f.zarr"), tmp_path / "out", Format.GRIB, Wanted())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["export.json"]


def test_bits_follow_the_range():
    step = 2.0**-7
    for count in (1, 2, 1000, 4095):
        values = 200.0 + step * np.arange(count + 1)
        bits = bits_for(values, 0.01)
        assert 2**bits - 1 >= count > 2 ** (bits - 1) - 2
    assert bits_for(np.array([1.0, 1.0]), 0.01) == 0
    assert bits_for(np.array([0.0, 1e30]), 0.01) == 24
