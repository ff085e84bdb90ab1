"""The audit finds what was planted, names it, and says nothing else."""

import hashlib
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from makers import analysis_dataset, times, write_store
from servers import serve

from fuxi_ens.config import DaskConfig, Period
from fuxi_ens.data.audit.run import AuditOptions, audit
from fuxi_ens.data.era5 import open_analysis
from fuxi_ens.data.samples import SampleIndex
from fuxi_ens.data.skip import write_skip_list
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from pipelines.__main__ import main

GRID = LatLonGrid(16, 32)
CHANNELS = ("z500", "z850", "u500", "v500", "t850", "t2m", "sst", "msl", "tp")
WHEN = times("2018-01-01", "2018-01-12T18")
LONG = {
    "z500": "geopotential",
    "t2m": "2m_temperature",
    "tp": "total_precipitation_6hr",
    "msl": "mean_sea_level_pressure",
}
FAST = AuditOptions(samples=6, threads=1)
FULL = AuditOptions(full=True, threads=1, dask=DaskConfig())


@pytest.fixture(scope="module")
def sound():
    return analysis_dataset(CHANNELS, WHEN, GRID.height, GRID.width)


def write(folder, dataset, **options):
    return write_store(dataset, folder / "era5.zarr", **{"chunk": 1, **options})


def with_field(dataset, name, position, change):
    """A copy with the field of one variable at one time changed."""
    values = dataset[name].values.copy()
    values[position] = change(values[position])
    return dataset.assign({name: (dataset[name].dims, values)})


def look(source, options=FAST, channels=None):
    return audit(str(source), channels, options)


def only(result, severity):
    """The single problem, which has that severity."""
    assert [problem.severity for problem in result.problems] == [severity], result.problems
    return result.problems[0]


def chunk(store, name, position):
    """The file that holds one time."""
    folder = Path(store, name)
    if (folder / "c").exists():
        return next(path for path in folder.glob(f"c/{position}/**/*") if path.is_file())
    return next(folder.glob(f"{position}.*"))


class TestSoundStores:
    @pytest.mark.parametrize("options", [FAST, FULL], ids=["fast", "full"])
    def test_nothing_is_found(self, tmp_path, sound, options):
        result = look(write(tmp_path, sound), options)
        assert result.problems == ()
        assert result.skip == {}
        assert not result.is_wrong

    @pytest.mark.parametrize(
        "layout",
        [{"ascending": True}, {"longitude_first": True}, {"zarr_format": 2}, {"chunk": 16}],
        ids=["ascending", "longitude-first", "v2", "many-times-per-chunk"],
    )
    def test_any_layout_is_as_good(self, tmp_path, sound, layout):
        assert look(write(tmp_path, sound, **layout)).problems == ()

    def test_what_is_reported_is_what_is_there(self, tmp_path, sound):
        result = look(write(tmp_path, sound), FULL)
        assert result.extent.times == len(WHEN)
        assert (result.extent.first, result.extent.last) == ("2018-01-01T00:00", "2018-01-12T18:00")
        assert result.extent.step_hours == 6
        assert result.extent.latitude == "16 from 84.375 to -84.375"
        assert result.extent.levels == (500, 850)
        # Reading all levels of a variable makes channels of them.
        assert [row.name for row in result.channels] == sorted(
            {*CHANNELS, "u850", "v850", "t500"}, key=[r.name for r in result.channels].index
        )
        assert len(result.absent_channels) == 78 - len(result.channels)
        row = next(row for row in result.channels if row.name == "tp")
        millimeters = 1e3 * sound[LONG["tp"]].values.astype(np.float64)
        assert row.low == pytest.approx(millimeters.min(), rel=1e-6, abs=1e-6)
        assert row.high == pytest.approx(millimeters.max(), rel=1e-6)
        weights = np.cos(np.deg2rad(GRID.latitude))
        mean = np.average(millimeters.mean(axis=(0, 2)), weights=weights)
        assert row.mean == pytest.approx(mean, rel=1e-6)
        assert next(r for r in result.channels if r.name == "sst").missing_share == pytest.approx(
            np.isnan(sound["sea_surface_temperature"].values).mean()
        )
        layout = next(row for row in result.variables if row.name == "geopotential")
        assert (layout.dtype, layout.chunk, layout.shard) == ("float32", "1x2x16x32", "")
        assert layout.chunk_bytes == 4 * 2 * 16 * 32

    def test_chosen_channels_only(self, tmp_path, sound):
        result = look(write(tmp_path, sound), channels=("z500", "t2m"))
        assert [row.name for row in result.channels] == ["z500", "t2m"]

    def test_an_hourly_store_with_sums(self, tmp_path):
        dataset = analysis_dataset(CHANNELS, times("2018-01-01", "2018-01-03", 1), GRID.height, GRID.width, hourly=True)
        result = look(write(tmp_path, dataset), FULL)
        assert only(result, "skip").what == "first hours"
        assert list(result.skip) == [*times("2018-01-01", "2018-01-01T04", 1)]
        assert "tp" in {row.name for row in result.channels}

    def test_a_netcdf_file(self, tmp_path, sound):
        sound.to_netcdf(tmp_path / "era5.nc", engine="h5netcdf")
        result = look(tmp_path / "era5.nc")
        assert result.problems == ()
        assert any("NetCDF" in line for line in result.looked_at)

    def test_a_web_server_that_lists_nothing(self, tmp_path, sound):
        write(tmp_path, sound, zarr_format=2)
        with serve(tmp_path) as (address, _):
            result = look(f"{address}/era5.zarr")
        assert result.problems == ()
        assert any(line.startswith("no chunk sizes") for line in result.looked_at)


class TestTimes:
    def test_a_gap(self, tmp_path, sound):
        result = look(write(tmp_path, sound.isel(time=[*range(10), *range(14, len(WHEN))])))
        problem = only(result, "skip")
        assert (problem.what, problem.times) == ("gap", 4)
        assert (problem.first, problem.last) == ("2018-01-03T12:00", "2018-01-04T06:00")
        assert list(result.skip) == [*WHEN[10:14]]

    def test_a_duplicate(self, tmp_path, sound):
        result = look(write(tmp_path, sound.isel(time=[*range(8), 7, *range(8, len(WHEN))])))
        problem = only(result, "wrong")
        assert problem.what == "duplicate times"
        assert "2018-01-02T18:00" in problem.detail
        assert result.is_wrong

    def test_disorder(self, tmp_path, sound):
        order = np.arange(len(WHEN))
        order[[5, 20]] = order[[20, 5]]
        problem = only(look(write(tmp_path, sound.isel(time=order))), "wrong")
        assert problem.what == "times out of order"
        assert problem.times == 2

    def test_a_shifted_time(self, tmp_path, sound):
        when = WHEN.copy()
        when[9] += np.timedelta64(1, "h")
        result = look(write(tmp_path, sound.assign_coords(time=when)))
        assert "irregular steps" in {problem.what for problem in result.problems}

    @pytest.mark.parametrize(
        ("stop", "last_valid"), [("2018-01-10", "2018-01-10T18"), ("2018-01-10T06:00:00", "2018-01-10T06")]
    )
    def test_times_after_the_valid_stop(self, tmp_path, sound, stop, last_valid):
        result = look(write(tmp_path, sound.assign_attrs(valid_time_stop=stop)))
        problem = only(result, "skip")
        assert problem.what == "outside the valid period"
        assert "valid_time_stop" in problem.detail
        assert sorted(result.skip) == [*WHEN[np.datetime64(last_valid) < WHEN]]

    def test_times_before_the_valid_start_and_preliminary_ones(self, tmp_path, sound):
        limits = {
            "valid_time_start": "2018-01-03",
            "valid_time_stop": "2018-01-08",
            "valid_time_stop_era5t": "2018-01-10",
        }
        result = look(write(tmp_path, sound.assign_attrs(limits)))
        kept = (np.datetime64("2018-01-03") <= WHEN) & (np.datetime64("2018-01-09") > WHEN)
        assert sorted(result.skip) == [*WHEN[~kept]]
        assert sum("preliminary ERA5T" in problem.detail for problem in result.problems) == 1

    def test_a_limit_that_is_no_date(self, tmp_path, sound):
        with pytest.raises(StoreError, match="valid_time_stop is 'soon', expected a date"):
            look(write(tmp_path, sound.assign_attrs(valid_time_stop="soon")))


class TestFields:
    """Fast mode, each chunk one time: found by size, wherever it is."""

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_a_day_of_nothing(self, tmp_path, sound, zarr_format):
        hole = sound
        for name in sound.data_vars:
            if "time" in sound[name].dims:
                hole = with_field(hole, name, slice(17, 21), lambda field: field * np.nan)
        result = look(write(tmp_path, hole, zarr_format=zarr_format))
        assert only(result, "skip").times == 4
        assert sorted(result.skip) == [*WHEN[17:21]]

    def test_nothing_in_one_variable_at_one_time(self, tmp_path, sound):
        result = look(write(tmp_path, with_field(sound, LONG["t2m"], 30, lambda field: field * np.nan)))
        assert "t2m" in only(result, "skip").detail
        assert list(result.skip) == [WHEN[30]]

    @pytest.mark.parametrize("value", [0.0, -9999.0, 9.96921e36])
    def test_a_constant_field(self, tmp_path, sound, value):
        result = look(write(tmp_path, with_field(sound, LONG["msl"], 30, lambda field: field * 0 + value)))
        problem = only(result, "skip")
        assert "at every point" in problem.what
        assert problem.detail == "msl"
        assert list(result.skip) == [WHEN[30]]

    @pytest.mark.parametrize("length", [0, 10, 200])
    def test_a_truncated_chunk(self, tmp_path, sound, length):
        store = write(tmp_path, sound)
        path = chunk(store, "geopotential", 30)
        path.write_bytes(path.read_bytes()[:length])
        result = look(store)
        problem = only(result, "skip")
        assert list(result.skip) == [WHEN[30]]
        assert problem.first == "2018-01-08T12:00"
        if length:
            assert problem.what == "damaged chunk"
            assert "geopotential at 2018-01-08T12:00" in problem.detail
            assert "geopotential/c/30" in problem.detail

    def test_damage_is_told_beside_what_is_sound(self, tmp_path, sound):
        store = write(tmp_path, sound)
        path = chunk(store, "geopotential", 0)
        path.write_bytes(path.read_bytes()[:50])
        result = look(store, FULL)
        assert only(result, "skip").what == "damaged chunk"
        assert next(row for row in result.channels if row.name == "t2m").missing_share == 0

    def test_a_few_missing_points(self, tmp_path, sound):
        """Compression hides them: it takes the full audit."""

        def harm(field):
            field[3, 5] = np.nan
            return field

        store = write(tmp_path, with_field(sound, LONG["t2m"], 31, harm))
        assert look(store).problems == ()
        problem = only(look(store, FULL), "skip")
        assert problem.what == "missing points"
        assert problem.first == "2018-01-08T18:00"

    def test_missing_points_at_all_times_cannot_be_skipped(self, tmp_path, sound):
        def harm(field):
            field[:, 3, 5] = np.nan
            return field

        result = look(write(tmp_path, with_field(sound, LONG["t2m"], slice(None), harm)))
        assert only(result, "wrong").what == "missing points"
        assert result.skip == {}

    def test_land_that_comes_and_goes(self, tmp_path, sound):
        filled = with_field(sound, "sea_surface_temperature", 31, lambda field: np.nan_to_num(field, nan=290.0))
        result = look(write(tmp_path, filled), FULL)
        assert only(result, "skip").what == "missing points"
        assert list(result.skip) == [WHEN[31]]

    def test_a_variable_without_any_data(self, tmp_path, sound):
        result = look(write(tmp_path, with_field(sound, LONG["t2m"], slice(None), lambda field: field * np.nan)))
        problem = only(result, "wrong")
        assert "t2m" in problem.detail
        assert result.skip == {}

    def test_chunks_of_many_times_are_said_to_hide(self, tmp_path, sound):
        result = look(write(tmp_path, sound, chunk=16))
        assert any("a chunk holds 16 times" in line for line in result.looked_at)


class TestPhysics:
    @pytest.mark.parametrize("options", [FAST, FULL], ids=["fast", "full"])
    def test_labels_of_latitude_reversed(self, tmp_path, sound, options):
        turned = sound.assign_coords(latitude=sound["latitude"].values[::-1])
        problems = look(write(tmp_path, turned), options).problems
        assert {problem.severity for problem in problems} == {"wrong"}
        balance = next(problem for problem in problems if problem.what == "geostrophic balance")
        assert "latitude" in balance.detail
        assert "reversed in the data" in balance.detail
        assert any(problem.what == "landmarks" for problem in problems)

    def test_wrong_units(self, tmp_path, sound):
        wrong = sound.assign({LONG["z500"]: sound[LONG["z500"]] / 9.80665})
        problem = only(look(write(tmp_path, wrong)), "wrong")
        assert "gpm" in problem.detail
        assert "z500" in problem.detail

    def test_sums_over_one_hour(self, tmp_path, sound):
        wrong = sound.assign({LONG["tp"]: sound[LONG["tp"]] / 6})
        assert "one hour, not a 6 h sum" in only(look(write(tmp_path, wrong)), "wrong").detail

    def test_one_field_in_other_units_is_left_out(self, tmp_path, sound):
        result = look(write(tmp_path, with_field(sound, LONG["t2m"], 31, lambda field: field - 273.15)), FULL)
        assert "Celsius" in only(result, "skip").detail
        assert list(result.skip) == [WHEN[31]]

    def test_accumulations_that_cannot_be_summed(self, tmp_path):
        dataset = analysis_dataset(CHANNELS, WHEN, GRID.height, GRID.width, hourly=True)
        result = look(write(tmp_path, dataset))
        assert only(result, "wrong").what == "accumulations"
        assert "tp" not in {row.name for row in result.channels}


class TestRefusals:
    def test_a_store_without_anything_usable(self, tmp_path):
        dataset = xr.Dataset({"ozone": (("time", "latitude", "longitude"), np.zeros((2, 4, 8)))})
        dataset = dataset.assign_coords(time=WHEN[:2], latitude=np.arange(4.0), longitude=np.arange(8.0) * 45)
        with pytest.raises(StoreError, match=r"holds no variable of the model.*ozone"):
            look(write(tmp_path, dataset))

    def test_a_channel_that_is_not_there(self, tmp_path, sound):
        with pytest.raises(StoreError, match=r"lacks the channels \['d2m'\]"):
            look(write(tmp_path, sound), channels=("z500", "d2m"))


class TestManifest:
    @pytest.fixture
    def prepared(self, tmp_path, sound):
        store = write(tmp_path, sound, zarr_format=2)
        files = sorted(path for path in Path(store).glob("*/[0-9]*"))
        shards = [
            {
                "path": str(path.relative_to(store)),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in files
        ]
        Path(store, "manifest.json").write_text(json.dumps({"schema": 1, "shards": shards}))
        return store

    def test_it_is_compared(self, prepared):
        result = look(prepared, FULL)
        assert result.problems == ()
        assert any("sizes and checksums" in line for line in result.looked_at)

    def test_a_shard_of_another_size(self, prepared):
        path = chunk(prepared, LONG["t2m"], 30)
        path.write_bytes(path.read_bytes() + b"x")
        manifest = [p for p in look(prepared).problems if p.what == "manifest"]
        assert len(manifest) == 1
        assert "2m_temperature/30.0.0 has" in manifest[0].detail

    def test_other_content_of_the_same_size_takes_the_full_audit(self, prepared):
        path = chunk(prepared, LONG["t2m"], 30)
        path.write_bytes(
            chunk(prepared, LONG["t2m"], 31).read_bytes()[: path.stat().st_size].ljust(path.stat().st_size, b"x")
        )
        assert [p for p in look(prepared).problems if p.what == "manifest"] == []
        assert [p.what for p in look(prepared, FULL).problems if p.what == "manifest"] == ["manifest"]

    def test_a_damaged_manifest(self, prepared):
        Path(prepared, "manifest.json").write_text("{")
        with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
            look(prepared)


class TestSkipListInUse:
    def test_no_sample_touches_a_time_to_skip(self, tmp_path, sound):
        harmed = with_field(sound, LONG["t2m"], 20, lambda field: field * np.nan)
        harmed = harmed.isel(time=[*range(30), *range(32, len(WHEN))])
        store = write(tmp_path, harmed)
        result = look(store)
        write_skip_list(tmp_path / "skip.json", store, result.skip)
        six_hours = np.timedelta64(6, "h")
        analysis = open_analysis(store, CHANNELS, GRID, six_hours, threads=1, skip_list=tmp_path / "skip.json")
        period = Period(start=WHEN[0].astype("datetime64[s]").item(), end=WHEN[-1].astype("datetime64[s]").item())
        analysis.require_complete((period,), six_hours)
        index = SampleIndex.legal(analysis.times, (period,), six_hours, 2)
        bad = {20, 30, 31}
        legal = [i for i in range(1, len(WHEN) - 2) if not bad & {i - 1, i, i + 1, i + 2}]
        np.testing.assert_array_equal(index.init_times, WHEN[legal])
        for time in analysis.times:
            analysis.read(np.array([time]))


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the real entry point; gives exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fuxi-ens", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    yield run
    for package in ("fuxi_ens", "pipelines"):
        logging.getLogger(package).setLevel(logging.NOTSET)


class TestCommand:
    def test_a_sound_store(self, cli, tmp_path, sound):
        code, out, _ = cli("data", "audit", write(tmp_path, sound))
        assert code == 0
        assert "nothing conspicuous" in out
        assert "2018-01-12T18:00" in out
        assert "\x1b" not in out

    def test_times_to_skip_are_no_failure(self, cli, tmp_path, sound):
        store = write(tmp_path, with_field(sound, LONG["t2m"], 30, lambda field: field * np.nan))
        code, out, _ = cli("data", "audit", store)
        assert code == 0
        assert "--skip-list" in out
        code, out, _ = cli("-q", "data", "audit", store, "--skip-list", tmp_path / "skip.json")
        assert code == 0
        assert json.loads((tmp_path / "skip.json").read_text())["times"][0]["time"] == "2018-01-08T12:00"

    def test_what_is_wrong_fails(self, cli, tmp_path, sound):
        store = write(tmp_path, sound.assign_coords(latitude=sound["latitude"].values[::-1]))
        code, out, err = cli("data", "audit", store)
        assert code == 1
        assert "geostrophic balance" in out
        assert "must be mended before training" in err
        assert "Traceback" not in err

    def test_json_is_one_document(self, cli, tmp_path, sound):
        store = write(tmp_path, sound.isel(time=[*range(8), *range(9, len(WHEN))]))
        code, out, _ = cli("data", "audit", store, "--json", "--channels", "z500,t2m")
        document = json.loads(out)
        assert code == 0
        assert document["extent"]["times"] == len(WHEN) - 1
        assert [row["name"] for row in document["channels"]] == ["z500", "t2m"]
        assert document["problems"][0]["what"] == "gap"
        assert document["skip"] == [{"time": "2018-01-03T00:00", "reason": "not in the store"}]
        assert document["wrong"] is False

    def test_an_unknown_channel(self, cli, tmp_path, sound):
        code, _, err = cli("data", "audit", write(tmp_path, sound), "--channels", "z500,gh")
        assert code == 1
        assert "['gh']" in err
