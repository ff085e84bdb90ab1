"""Heat waves against a count by hand: days, thresholds, spells, probabilities, scores."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import ValidationError

from fuxi_ens.config import Config, HeatWaveConfig
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.times import hours
from fuxi_ens.verify.files import read_file
from fuxi_ens.verify.heat_waves.days import daily_maximum, days_of, in_spell, reference_days, sampled
from fuxi_ens.verify.heat_waves.run import verify_heat_waves

GRID = LatLonGrid(8, 16)
EVENT = {
    "name": "test_2018",
    "period": {"start": "2018-07-03", "end": "2018-07-08"},
    "south": -20, "north": 60, "west": 330, "east": 50,
    "reference": [{"start": "2010-01-01", "end": "2013-12-31T18:00"}],
    "window_days": 3, "quantile": 0.8, "min_days": 2,
}  # fmt: skip


def event(**changes):
    return HeatWaveConfig.model_validate({**EVENT, **changes})


def fields(rng, dims):
    shape = [len(values) for values in dims.values()]
    values = 300.0 + 3.0 * rng.standard_normal((*shape, 8, 16))
    coords = {**dims, "latitude": GRID.latitude, "longitude": GRID.longitude}
    return xr.Dataset({"2m_temperature": ((*dims, "latitude", "longitude"), values.astype("f4"))}, coords)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    rng = np.random.default_rng(7)
    folder = tmp_path_factory.mktemp("heat")
    years = (2010, 2011, 2012, 2013, 2018)
    times = np.concatenate([pd.date_range(f"{year}-06-25", f"{year}-07-20T18", freq="6h") for year in years])
    truth = fields(rng, {"time": times.astype("M8[ns]")})
    truth["land_sea_mask"] = (("latitude", "longitude"), (np.arange(128).reshape(8, 16) % 3 > 0).astype("f4"))
    inits = np.array(["2018-07-02T00", "2018-07-03T12"], "M8[ns]")
    dims = {"time": inits, "prediction_timedelta": hours(6) * np.arange(1, 21)}
    data = {"truth": truth}
    for name, members in (("forecast", 4), ("baseline", 3)):
        data[name] = fields(rng, {**dims, "number": np.arange(members)})
    for name, part in data.items():
        part.to_zarr(folder / f"{name}.zarr", zarr_format=2)
    return folder, data


def make_config(folder, **changes):
    return Config.model_validate(
        {
            "run": {"name": "ours", "folder": str(folder)},
            "data": {
                "store": f"{folder}/truth.zarr",
                "train": [{"start": "2010-01-01", "end": "2010-12-31"}],
                "validation": [{"start": "2011-01-01", "end": "2011-12-31"}],
                "test": [{"start": "2018-06-01", "end": "2018-09-30"}],
            },
            "model": {
                "channels": ["t2m"], "height": 8, "width": 16, "patch": 4, "embedding": 8, "heads": 2, "window": 2,
            },
            "train": {"stages": [{"name": "a", "objective": "l1", "iterations": 1, "learning_rate": 1e-3}]},
            "forecast": {
                "channels": ["t2m"], "steps": 20, "members": 4,
                "init_times": {"start": "2018-07-02", "end": "2018-07-03T12:00", "every_hours": 12},
            },
            "verify": {
                "channels": ["t2m"], "baseline": f"{folder}/baseline.zarr", "baseline_name": "theirs",
                "forecast_name": "ours", "climatology": {"periods": [{"start": "2010-01-01", "end": "2010-12-31"}]},
            },
            "events": {"heat_waves": [{**EVENT, **changes}]},
        }
    )  # fmt: skip


def run(world, out, **changes):
    return verify_heat_waves(make_config(world[0], **changes), out, f"{world[0]}/forecast.zarr", {"config_hash": "a"})


def by_hand(world, name, init, first_hour=0):
    """Probability and occurrence by day of July, with loops and dates."""
    data, truth = world[1][name]["2m_temperature"].sel(time=init), world[1]["truth"]["2m_temperature"]
    begin = pd.Timedelta(hours=first_hour if first_hour < 12 else first_hour - 24)
    stamps = {
        day: [pd.Timestamp(2018, 7, day) + begin + pd.Timedelta(hours=6 * k) for k in range(4)] for day in range(3, 9)
    }
    leads = pd.TimedeltaIndex(data["prediction_timedelta"].values)
    days = [day for day in stamps if all((t - pd.Timestamp(init)) in leads for t in stamps[day])]
    chosen = {"latitude": data["latitude"].values, "longitude": data["longitude"].values}
    members, happened = np.zeros((data.sizes["number"], len(days), 8, 16)), np.zeros((len(days), 8, 16))
    hot_members, hot_truth = np.zeros_like(members, bool), np.zeros_like(happened, bool)
    for i, day in enumerate(days):
        pool = []
        for year in (2010, 2011, 2012, 2013):
            for offset in range(-3, 4):
                at = [t.replace(year=year) + pd.Timedelta(days=offset) for t in stamps[day]]
                pool.append(truth.sel(time=at).max("time").values)
        limit = np.quantile(np.stack(pool), 0.8, axis=0)
        hot_truth[i] = truth.sel(time=stamps[day]).max("time").values > limit
        spans = [np.timedelta64(t - pd.Timestamp(init)) for t in stamps[day]]
        daily = data.sel(prediction_timedelta=spans).max("prediction_timedelta").transpose("number", ...)
        hot_members[:, i] = daily.values > limit
    for i in range(len(days)):
        for j in (i - 1, i):
            if j >= 0 and j + 1 < len(days):
                happened[i] += hot_truth[j] & hot_truth[j + 1]
                members[:, i] += hot_members[:, j] & hot_members[:, j + 1]
    return days, (members > 0).mean(axis=0), happened > 0, chosen


class TestDays:
    def test_samples_of_a_day(self):
        days = np.array(["2018-07-03"], "M8[ns]")
        for first, begins in ((0, "2018-07-03T00"), (6, "2018-07-03T06"), (12, "2018-07-02T12"), (18, "2018-07-02T18")):
            expected = np.datetime64(begins, "ns") + hours(6) * np.arange(4)
            np.testing.assert_array_equal(sampled(days, first)[0], expected)

    def test_reference_days_are_near_the_date_in_whole_reference_days(self):
        wanted = reference_days(event())
        assert len(wanted) == len(days_of(event())) == 6
        assert len(wanted[0]) == 4 * 7
        assert wanted[0][0] == np.datetime64("2010-06-30")
        # 18 UTC of December 31 lies outside the reference: the first day of the year is not whole.
        new_year = event(period={"start": "2018-01-02", "end": "2018-01-03"}, first_hour=18)
        assert np.datetime64("2010-01-01") not in reference_days(new_year)[0]
        assert np.datetime64("2010-01-02") in reference_days(new_year)[0]

    def test_the_leap_day_has_a_climatology(self):
        leap = event(period={"start": "2020-02-29", "end": "2020-02-29"}, window_days=0)
        assert [str(day)[:10] for day in reference_days(leap)[0]] == [
            "2010-02-28", "2011-02-28", "2012-02-29", "2013-02-28",
        ]  # fmt: skip

    def test_maximum_of_four(self):
        values = np.arange(16.0).reshape(2, 8, 1, 1)
        np.testing.assert_array_equal(daily_maximum(values)[..., 0, 0], [[3, 7], [11, 15]])

    @pytest.mark.parametrize(
        ("hot", "least", "expected"),
        [
            ("0110111", 3, "0000111"),
            ("1110111", 3, "1110111"),
            ("0110110", 3, "0000000"),
            ("0100", 1, "0100"),
            ("11", 3, "00"),
            ("1111", 2, "1111"),
        ],
    )
    def test_spells(self, hot, least, expected):
        days = np.array([c == "1" for c in hot])[:, None, None]
        assert "".join("01"[int(d)] for d in in_spell(days, least)[:, 0, 0]) == expected


@pytest.mark.parametrize("first_hour", [0, 18])
@pytest.mark.parametrize(("system", "store"), [("ours", "forecast"), ("theirs", "baseline")])
def test_probabilities_and_scores_are_those_counted_by_hand(world, tmp_path, system, store, first_hour):
    run(world, tmp_path, first_hour=first_hour)
    for init in ("2018-07-02T00", "2018-07-03T12"):
        days, share, happened, _ = by_hand(world, store, init, first_hour)
        found = read_file(tmp_path / "test_2018" / system / f"{init}.nc")
        assert [int(str(day)[-2:]) for day in found["day"].values.astype(str)] == days
        columns = [c for c in (*range(14, 16), *range(3)) if (GRID.longitude[c] - 330) % 360 <= 80]
        rows = np.flatnonzero((GRID.latitude >= -20) & (GRID.latitude <= 60))
        np.testing.assert_allclose(found["longitude"], GRID.longitude[columns])
        np.testing.assert_allclose(found["probability"], share[:, rows][:, :, columns])
        np.testing.assert_array_equal(found["happened"], happened[:, rows][:, :, columns])
        weights = area_weights(GRID.latitude)[rows][:, None] * np.ones(len(columns))
        part = (share - happened)[:, rows][:, :, columns] ** 2
        np.testing.assert_allclose(found["brier"], [np.average(day, weights=weights) for day in part])
        size = world[1][store].sizes["number"]
        fair = part - (share * (1 - share))[:, rows][:, :, columns] / (size - 1)
        np.testing.assert_allclose(found["fair_brier"], [np.average(day, weights=weights) for day in fair])


def test_tables_average_over_init_times(world, tmp_path):
    averages, days = (pd.read_csv(path) for path in run(world, tmp_path))
    assert set(averages["system"]) == {"ours", "theirs"}
    one = days[(days["system"] == "ours") & (days["lead_days"] == averages["lead_days"][0])]
    assert averages["brier"][0] == pytest.approx(one["brier"].mean(), rel=1e-5)
    assert (averages["cases"] == 1).all()  # init times at 00 and 12 UTC have no lead time in common


def test_only_land_counts_when_asked(world, tmp_path):
    run(world, tmp_path, land_only=True)
    found = read_file(tmp_path / "test_2018" / "ours" / "2018-07-02T00.nc")
    land = world[1]["truth"]["land_sea_mask"].sel(latitude=found["latitude"], longitude=found["longitude"])
    weights = area_weights(GRID.latitude)[np.isin(GRID.latitude, found["latitude"])][:, None] * land.values
    squared = (found["probability"] - found["happened"]).values ** 2
    np.testing.assert_allclose(found["brier"], [np.average(day, weights=weights) for day in squared])


def test_finished_files_are_kept_and_thresholds_not_made_again(world, tmp_path, monkeypatch):
    first = [path.read_bytes() for path in run(world, tmp_path)]

    def not_again(*_):
        raise AssertionError

    monkeypatch.setattr("fuxi_ens.verify.heat_waves.run.thresholds", not_again)
    assert [path.read_bytes() for path in run(world, tmp_path)] == first


class TestMistakes:
    def test_a_reference_that_knows_the_event(self):
        with pytest.raises(ValidationError, match="the threshold must not know it"):
            event(reference=[{"start": "2010-01-01", "end": "2018-07-01"}])

    @pytest.mark.parametrize("changes", [{"name": "a b"}, {"channel": "t3m"}, {"first_hour": 3}, {"quantile": 1.0}])
    def test_settings_out_of_range(self, changes):
        with pytest.raises(ValidationError):
            event(**changes)

    def test_a_box_between_grid_points(self, world, tmp_path):
        with pytest.raises(UserError, match="no grid point"):
            run(world, tmp_path, south=1, north=2)

    def test_forecasts_that_are_too_short(self, world, tmp_path):
        with pytest.raises(UserError, match="no init time has 9 whole days"):
            run(world, tmp_path, min_days=9)

    def test_a_truth_that_ends_early(self, world, tmp_path):
        with pytest.raises(StoreError, match=r"has no t2m at 2008-06-30"):
            run(world, tmp_path, reference=[{"start": "2008-01-01", "end": "2009-12-31T18:00"}])
