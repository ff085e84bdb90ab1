"""Forecasts as others write them, read as if they were ours: names, units, axes, and refusals that help."""

import numpy as np
import pytest
import xarray as xr
from makers import analysis_dataset, make_ensemble, times

from fuxi_ens.channels import channel
from fuxi_ens.errors import StoreError
from fuxi_ens.verify.open import open_forecast

INIT_TIMES = times("2018-01-01", "2018-01-01T12", 12)
LEADS = np.array([6, 12], "m8[h]").astype("m8[ns]")
CHANNELS = ("z500", "z850", "t850", "q850", "t2m", "sst", "u10m", "v10m", "msl", "tp")
ORDER = ("prediction_timedelta", "number", "latitude", "longitude")


@pytest.fixture
def truth(tmp_path):
    return make_ensemble(tmp_path / "truth.zarr", channels=CHANNELS, init_times=INIT_TIMES, lead_times=LEADS, members=3)


def expected(truth, name, init):
    item = channel(name)
    array = truth[item.variable.file_name].isel(time=init)
    return (array if item.level is None else array.sel(level=item.level)).transpose(*ORDER).values


def same(store, truth, names=CHANNELS):
    for name in names:
        for init, time in enumerate(INIT_TIMES[: len(store.init_times)]):
            got = store.ensemble(name, time, LEADS)
            np.testing.assert_allclose(got.values, expected(truth, name, init), rtol=2e-7)


UNITS = {"q850": 1e3, "tp": 1e3}
"""What the release multiplies a unit of our files with."""


class TestMembersOfTheRelease:
    """`member_000/001.nc`: array `output` in model units, steps of six hours from 1, names in `channel`."""

    @pytest.fixture
    def write(self, truth):
        def write(folder, init=0, suffix="nc", spell=str, members=3):
            for member in range(members):
                for step in (1, 2):
                    fields = [UNITS.get(n, 1.0) * expected(truth, n, init)[step - 1, member] for n in CHANNELS]
                    output = xr.DataArray(
                        np.stack(fields)[None, None, ..., None].astype("f4"),
                        name="output",
                        dims=("time", "step", "channel", "lat", "lon", "member"),
                        coords={
                            "time": [INIT_TIMES[init]],
                            "step": [step],
                            "channel": [spell(name) for name in CHANNELS],
                            "lat": truth["latitude"].values,
                            "lon": truth["longitude"].values,
                            "member": [member],
                        },
                    )
                    path = folder / f"member_{member:03d}" / f"{step:03d}.{suffix}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if suffix == "nc":
                        output.to_netcdf(path, engine="h5netcdf")
                    else:
                        output.to_dataset().to_zarr(path, zarr_format=2)
            return folder

        return write

    @pytest.mark.parametrize("suffix", ["nc", "zarr"])
    def test_one_forecast(self, write, truth, tmp_path, suffix):
        store = open_forecast(str(write(tmp_path / "out", suffix=suffix))).require(CHANNELS)
        assert store.members == 3
        np.testing.assert_array_equal(store.init_times, INIT_TIMES[:1])
        np.testing.assert_array_equal(store.lead_times, LEADS)
        same(store, truth)

    def test_several_init_times_and_names_in_capitals(self, write, truth, tmp_path):
        for init, name in enumerate(("a", "b")):
            write(tmp_path / "runs" / name, init, spell=str.upper)
        store = open_forecast(str(tmp_path / "runs" / "*")).require(("ws10m",))
        np.testing.assert_array_equal(store.init_times, INIT_TIMES)
        same(store, truth)

    def test_a_level_that_is_not_there_is_missing(self, write, tmp_path):
        store = open_forecast(str(write(tmp_path / "out")))
        assert np.isnan(store.ensemble("t500", INIT_TIMES[0], LEADS).values).all()

    def test_parts_are_read_as_they_are_asked_for(self, write, truth, tmp_path):
        data = open_forecast(str(write(tmp_path / "out"))).dataset["geopotential"]
        got = data.isel(init_time=0, number=[0, 2], lead_time=slice(1, 2), level=1, latitude=slice(2, 5), longitude=3)
        whole = truth["geopotential"].isel(time=0, number=[0, 2], prediction_timedelta=[1], level=1)
        assert got.dims == ("number", "lead_time", "latitude")
        whole = whole.isel(latitude=slice(2, 5), longitude=3).transpose("number", "prediction_timedelta", "latitude")
        np.testing.assert_array_equal(got.values, whole.values)

    def test_a_missing_step_is_named(self, write, tmp_path):
        folder = write(tmp_path / "out")
        (folder / "member_001" / "002.nc").unlink()
        with pytest.raises(StoreError, match=r"member_001 lacks step 002; run its inference again"):
            open_forecast(str(folder))

    def test_a_missing_member_is_named(self, write, tmp_path):
        write(tmp_path / "runs" / "a")
        write(tmp_path / "runs" / "b", 1, members=2)
        with pytest.raises(StoreError, match=r"b has the members \[0, 1\], .*a has \[0, 1, 2\]"):
            open_forecast(str(tmp_path / "runs" / "*"))

    def test_a_file_cut_short_is_named(self, write, tmp_path):
        folder = write(tmp_path / "out")
        path = folder / "member_000" / "001.nc"
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(StoreError, match=r"member_000/001\.nc .*cut short"):
            open_forecast(str(folder))

    def test_channels_without_names_are_refused(self, write, tmp_path):
        with pytest.raises(StoreError, match="calls its channels .*'c0'.* write them into the coordinate `channel`"):
            open_forecast(str(write(tmp_path / "out", spell=lambda name: f"c{CHANNELS.index(name)}")))

    def test_the_same_init_time_twice_is_refused(self, write, tmp_path):
        write(tmp_path / "runs" / "a")
        write(tmp_path / "runs" / "b")
        with pytest.raises(StoreError, match="the same init time"):
            open_forecast(str(tmp_path / "runs" / "*"))

    def test_the_hourly_variant_is_refused(self, write, tmp_path):
        folder = write(tmp_path / "out")
        path = folder / "member_000" / "001.nc"
        with xr.load_dataset(path) as data:
            twice = xr.concat([data, data.assign_coords(step=[2])], "step")
        twice.to_netcdf(path, engine="h5netcdf")
        with pytest.raises(StoreError, match="the hourly variant"):
            open_forecast(str(folder))


@pytest.mark.parametrize(
    "names",
    [
        {"number": "realization"},
        {"number": "sample", "latitude": "lat", "longitude": "lon"},
        {"number": "member", "time": "init_time", "prediction_timedelta": "lead_time"},
        {"number": "ensemble", "prediction_timedelta": "step"},
        {"number": "realization", "time": "forecast_reference_time", "prediction_timedelta": "forecast_period"},
    ],
    ids=lambda names: " ".join(names.values()),
)
def test_names_of_other_archives(truth, tmp_path, names):
    truth.rename(names).drop_encoding().to_zarr(tmp_path / "b.zarr", zarr_format=2)
    store = open_forecast(str(tmp_path / "b.zarr")).require(CHANNELS)
    assert store.members == 3
    same(store, truth)


class TestGenCast:
    """Dims batch, sample, time; `time` counts from the init time, `datetime` [batch, time] is the valid time."""

    @pytest.fixture
    def predictions(self, truth):
        names = {
            "time": "batch",
            "prediction_timedelta": "time",
            "number": "sample",
            "latitude": "lat",
            "longitude": "lon",
        }
        data = truth.rename(names).isel(batch=[0]).drop_vars("batch").isel(lat=slice(None, None, -1)).drop_encoding()
        return data.assign_coords(datetime=(("batch", "time"), (INIT_TIMES[:1, None] + LEADS)))

    @pytest.mark.parametrize("path", ["p.nc", "p.zarr"])
    @pytest.mark.parametrize("batch", [True, False], ids=["batch", "squeezed"])
    def test_predictions(self, predictions, truth, tmp_path, path, batch):
        data = predictions if batch else predictions.isel(batch=0)
        if path.endswith("nc"):
            data.to_netcdf(tmp_path / path, engine="h5netcdf")
        else:
            data.to_zarr(tmp_path / path, zarr_format=2)
        store = open_forecast(str(tmp_path / path)).require(CHANNELS)
        np.testing.assert_array_equal(store.init_times, INIT_TIMES[:1])
        np.testing.assert_array_equal(store.lead_times, LEADS)
        same(store, truth)

    def test_predictions_without_a_date_are_refused_with_the_names(self, predictions, tmp_path):
        predictions.isel(batch=0).drop_vars("datetime").to_zarr(tmp_path / "p.zarr", zarr_format=2)
        with pytest.raises(
            StoreError, match=r"lacks the dimensions \['time'\].*called: time, init_time, forecast_refer"
        ):
            open_forecast(str(tmp_path / "p.zarr"))

    def test_sums_over_12_hours_are_not_taken_for_6(self, predictions, tmp_path):
        data = predictions.rename(total_precipitation_6hr="total_precipitation_12hr")
        data.to_zarr(tmp_path / "p.zarr", zarr_format=2)
        with pytest.raises(StoreError, match="no total_precipitation_6hr .*take tp out of verify.channels"):
            open_forecast(str(tmp_path / "p.zarr")).require(("tp",))


def test_an_analysis_is_no_forecast(tmp_path):
    analysis_dataset(("t2m",), INIT_TIMES, static=False).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    with pytest.raises(StoreError, match=r"lead_time, step, forecast_period"):
        open_forecast(str(tmp_path / "a.zarr"))


def test_lead_times_without_a_unit_are_refused(truth, tmp_path):
    bare = truth.drop_encoding().assign_coords(prediction_timedelta=[6, 12])
    bare.to_zarr(tmp_path / "b.zarr", zarr_format=2)
    with pytest.raises(StoreError, match="units='hours'"):
        open_forecast(str(tmp_path / "b.zarr"))
