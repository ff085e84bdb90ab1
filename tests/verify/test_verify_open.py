"""Verification reads analyses of any archive: hourly sums, other names, duplicates refused."""

import numpy as np
import pytest
import xarray as xr
from makers import analysis_dataset, instant, make_analysis, make_ensemble, six_hour_sum, times

from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.verify.open import open_analysis, open_forecast

GRID = LatLonGrid(8, 16)
HOURS = times("2018-01-01", "2018-01-02", 1)


def test_six_hour_sums_are_made_of_hourly_precipitation(tmp_path):
    make_analysis(tmp_path / "a", channels=("tp", "t2m"), when=HOURS, hourly=True, ascending=True)
    store = open_analysis(str(tmp_path / "a")).require(("tp", "t2m"))
    when = times("2018-01-01T06", "2018-01-02")
    got = store.fields("tp", when)
    assert got.dims == ("valid_time", "latitude", "longitude")
    np.testing.assert_allclose(got.values, six_hour_sum("tp", when, GRID), rtol=1e-5)
    np.testing.assert_allclose(store.fields("t2m", when).values, instant("t2m", when, GRID), rtol=1e-6)


def test_sums_of_a_store_that_is_not_hourly_are_refused(tmp_path):
    make_analysis(tmp_path / "a", channels=("tp",), when=times("2018-01-01", "2018-01-03"), hourly=True)
    with pytest.raises(StoreError, match="not hourly"):
        open_analysis(str(tmp_path / "a")).require(("tp",))


def test_wind_speed_is_that_of_the_components(tmp_path):
    make_analysis(tmp_path / "a", channels=("u10m", "v10m"), when=HOURS[:3])
    got = open_analysis(str(tmp_path / "a")).fields("ws10m", HOURS[1:3])
    expected = np.hypot(instant("u10m", HOURS[1:3], GRID), instant("v10m", HOURS[1:3], GRID))
    np.testing.assert_allclose(got.values, expected, rtol=1e-5)


def test_an_absent_time_is_named(tmp_path):
    make_analysis(tmp_path / "a", channels=("t2m",), when=HOURS[:3])
    with pytest.raises(StoreError, match="has no t2m at 2018-01-01T03.* and 1 other valid times"):
        open_analysis(str(tmp_path / "a")).fields("t2m", HOURS[2:5])


def test_duplicate_times_are_refused(tmp_path):
    data = analysis_dataset(("t2m",), HOURS[:3], static=False)
    xr.concat([data, data], "time").to_zarr(tmp_path / "a", zarr_format=2)
    with pytest.raises(StoreError, match="valid_time is absent or holds duplicates"):
        open_analysis(str(tmp_path / "a"))


def test_a_forecast_in_the_words_of_another_archive(tmp_path):
    leads = np.array([6, 12]).astype("m8[h]").astype("m8[ns]")
    truth = make_ensemble(tmp_path / "a", channels=("t2m",), init_times=HOURS[:2], lead_times=leads, members=3)
    other = truth.rename(time="init_time", prediction_timedelta="lead_time", number="realization")
    other = other.assign_coords(valid_time=other["init_time"] + other["lead_time"])
    other.drop_encoding().to_zarr(tmp_path / "b", zarr_format=2)
    store = open_forecast(str(tmp_path / "b")).require(("t2m",))
    assert store.members == 3
    got = store.ensemble("t2m", HOURS[1], leads)
    expected = truth["2m_temperature"].isel(time=1).transpose("prediction_timedelta", "number", "latitude", "longitude")
    np.testing.assert_array_equal(got.values, expected.values)


class TestControlMember:
    """Scores of ensembles leave it out; whoever shows or exports members has it."""

    LEADS = np.array([6, 12]).astype("m8[h]").astype("m8[ns]")

    def stored(self, path, numbers, **attributes):
        data = make_ensemble(path / "a", channels=("t2m",), init_times=HOURS[:1], lead_times=self.LEADS, members=4)
        data = data.assign_coords(number=numbers).assign_attrs(attributes)
        data.drop_encoding().to_zarr(path / "b", zarr_format=2)
        return data, open_forecast(str(path / "b"))

    @pytest.mark.parametrize(("numbers", "control"), [([0, 1, 2, 3], 0), ([1, 2, 3, 9], 9), ([1, 5, 2, 3], 5)])
    def test_the_perturbed_members_are_the_others(self, tmp_path, numbers, control):
        data, store = self.stored(tmp_path, numbers, control_member=control)
        assert (store.control, store.members) == (control, 4)
        perturbed = store.perturbed().require(("t2m",))
        kept = [number for number in numbers if number != control]
        assert (perturbed.numbers.tolist(), perturbed.members) == (kept, 3)
        expected = data["2m_temperature"].sel(number=kept).isel(time=0)
        got = perturbed.ensemble("t2m", HOURS[0], self.LEADS)
        order = ("prediction_timedelta", "number", "latitude", "longitude")
        assert np.array_equal(got.values, expected.transpose(*order).values)
        one = np.empty(got.shape[1:], np.float32)
        perturbed.ensemble_into("t2m", HOURS[0], self.LEADS[1], one)
        assert np.array_equal(one, got.values[1])

    def test_a_store_that_names_none_keeps_all(self, tmp_path):
        _, store = self.stored(tmp_path, [0, 1, 2, 3])
        assert store.control is None
        assert store.perturbed() is store
