"""The climatology from store to fields, against loops over the analyses; interruption, workers, refusals."""

import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from makers import analysis_dataset, run_values, set_value, times, write_store

from fuxi_ens.channels import channel
from fuxi_ens.config import Config
from fuxi_ens.data.climatology import bands as climatology_bands
from fuxi_ens.data.climatology import gather as climatology_gather
from fuxi_ens.data.climatology import plan as climatology_plan
from fuxi_ens.data.climatology import run as climatology
from fuxi_ens.data.climatology.run import make_climatology
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.stores.climatology import open_climatology

CHANNELS = ("z500", "t850", "sst", "u10m", "v10m", "tp")
# A year of 365 days and one of 366, so day 366 has one sample of its own and one that is filled.
YEARS = {"start": "2015-01-01", "end": "2016-12-31T18:00"}
WHEN = times(YEARS["start"], "2016-12-31T18")
PROBABILITIES = (0.05, 0.5, 0.9, 0.99)


def drifting(dataset):
    """Two years of the makers' weather plus a season, so that days of the year differ."""
    season = xr.DataArray(np.cos(2 * np.pi * dataset["time"].dt.dayofyear.values / 366.0), dims="time")
    for name in dataset.data_vars:
        if "time" in dataset[name].dims:
            spread = float(dataset[name].isel(time=slice(0, 40)).std())
            dataset[name] = (dataset[name] + spread * season).transpose(*dataset[name].dims).astype("f4")
    return dataset


@pytest.fixture(scope="module")
def analysis():
    return drifting(analysis_dataset(CHANNELS, WHEN))


@pytest.fixture(scope="module")
def store(tmp_path_factory, analysis):
    return write_store(analysis, tmp_path_factory.mktemp("climatology") / "analysis.zarr", zarr_format=2, chunk=200)


def values_of(folder, store, **changes):
    values = run_values(folder)
    values["run"]["folder"] = f"{folder}/run"
    values["data"] |= {"store": store, "train": [YEARS]}
    values["climatology"] = {
        "channels": list(CHANNELS),
        "quantiles": list(PROBABILITIES),
        "quantile_channels": ["z500", "u10m", "v10m", "sst"],
    }
    for key, value in changes.items():
        set_value(values, key.replace("__", "."), value)
    return values


def config_of(folder, store, **changes):
    return Config.model_validate(values_of(folder, store, **changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory, store):
    return make_climatology(config_of(tmp_path_factory.mktemp("made"), store))


def field(analysis, name):
    if name == "ws10m":
        return np.hypot(field(analysis, "u10m"), field(analysis, "v10m"))
    item = channel(name)
    array = analysis[item.variable.file_name]
    return array if item.level is None else array.sel(level=item.level, drop=True)


def samples(analysis, name, day, hour, window=61):
    """All (year, window) samples with their weights, by the definition and in loops: [sample, latitude, longitude]."""
    array, half, rows, weights = field(analysis, name), window // 2, [], []
    for year in (2015, 2016):
        for k in range(-half, half + 1):
            other = (day - 1 + k) % 366 + 1
            filled = min(other, 366 if year % 4 == 0 else 365)
            when = pd.Timestamp(f"{year}-01-01") + pd.Timedelta(days=filled - 1, hours=hour)
            rows.append(array.sel(time=when).values.astype(np.float64))
            weights.append(1.0 - abs(k) / half)
    return np.stack(rows), np.array(weights)


def weighted_quantile(values, weights, q):
    """Type 7 with Kish's effective sample size, for one point (verification.md 5.1)."""
    order = np.argsort(values)
    n = weights.sum() ** 2 / (weights**2).sum()
    cumulated = np.concatenate([[0.0], np.cumsum(weights[order]) / weights.sum()])
    spans = np.diff(np.clip(cumulated * n - (n - 1) * q, 0, 1))
    return (values[order] * spans).sum()


DATES = [
    ("2021-01-01T00", 1),
    ("2021-02-15T06", 46),
    ("2020-07-01T12", 183),
    ("2021-12-31T18", 365),
    ("2020-12-31", 366),
]


@pytest.mark.parametrize("name", [*CHANNELS, "ws10m"])
def test_mean_and_spread_are_those_of_loops(analysis, made, name):
    opened = open_climatology(str(made))
    for date, day in DATES:
        when = np.array([date], "datetime64[ns]")
        rows, weights = samples(analysis, name, day, pd.Timestamp(date).hour)
        mean = np.tensordot(weights, rows, 1) / weights.sum()
        std = np.sqrt(np.tensordot(weights, (rows - mean) ** 2, 1) / weights.sum())
        np.testing.assert_allclose(opened.mean(name, when)[0], mean, rtol=3e-7, atol=1e-5 * np.nanmax(std))
        np.testing.assert_allclose(opened.std(name, when)[0], std, rtol=1e-4, atol=1e-5 * np.nanmax(std))


@pytest.mark.parametrize("name", ["z500", "ws10m", "sst"])
def test_quantiles_are_those_of_loops(analysis, made, name):
    opened = open_climatology(str(made))
    for date, day in DATES:
        when = np.array([date], "datetime64[ns]")
        rows, weights = samples(analysis, name, day, pd.Timestamp(date).hour)
        for q in PROBABILITIES:
            got = opened.quantile(name, q, when)[0]
            wanted = np.apply_along_axis(weighted_quantile, 0, rows, weights, q)
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-5)


def test_the_layout_is_that_of_weatherbench(made):
    with xr.open_zarr(made) as dataset:
        assert dataset["hour"].values.tolist() == [0, 6, 12, 18]
        assert dataset["dayofyear"].values.tolist() == list(range(1, 367))
        assert {dataset[dim].dtype.str for dim in ("hour", "dayofyear", "level")} == {"<i8"}
        assert dataset["geopotential"].dims == ("hour", "dayofyear", "level", "latitude", "longitude")
        assert dataset["10m_wind_speed_quantile"].dims == ("hour", "quantile", "dayofyear", "latitude", "longitude")
        assert {"2m_temperature", "total_precipitation"}.isdisjoint(dataset)
        assert dataset["total_precipitation_6hr"].attrs["units"] == "m"
        assert dataset["total_precipitation_6hr"].dtype == np.float32
        assert dataset.attrs["periods"] == "2015-01-01T00:00:00..2016-12-31T18:00:00"
        assert dataset.attrs["window_days"] == 61
        assert dataset.attrs["analysis_store"].endswith("analysis.zarr")


def test_no_scratch_file_and_no_workshop_remains(made):
    assert not RunPaths(made.parent).climatology_work.exists()
    assert not list(made.rglob("*.npy"))


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def without_quantiles(folder, store, **changes):
    return config_of(folder, store, climatology__quantiles=[], climatology__channels=["z500", "u10m"], **changes)


def test_small_pieces_and_more_workers_give_the_same_bits(tmp_path, store, made, monkeypatch):
    monkeypatch.setattr(climatology_plan, "_MOST_DAYS", 150)
    monkeypatch.setattr(climatology_plan, "_SCRATCH_BYTES", 1)
    monkeypatch.setattr(climatology_plan.Plan, "band", 3)
    monkeypatch.setattr(climatology_bands, "_STRIP_BYTES", 1)
    config = config_of(
        tmp_path,
        store,
        run__threads=3,
        climatology__channels=["z500", "sst", "u10m", "v10m"],
        climatology__quantile_channels=["sst"],
    )
    pieces = make_climatology(config)
    with xr.open_zarr(made) as whole, xr.open_zarr(pieces) as cut:
        assert cut["sea_surface_temperature_quantile"].encoding["chunks"][-2] == 3
        assert len(cut.data_vars) == 11
        for name in cut.data_vars:
            wanted = whole[name].sel(level=[500]) if "level" in whole[name].dims else whole[name]
            np.testing.assert_array_equal(cut[name].values, wanted.values, err_msg=str(name))


def test_an_interrupted_run_is_finished_with_equal_bytes(tmp_path, store, monkeypatch):
    whole = contents(make_climatology(without_quantiles(tmp_path / "whole", store)))
    config, done, read = without_quantiles(tmp_path, store), [], []

    def failing(task, write=climatology_bands.write_band):
        if len(done) == 5:
            raise StoreError("out of reach")
        done.append(task)
        return write(task)

    def counting(task, gather=climatology_gather.gather):
        read.append(task.path)
        return gather(task)

    with monkeypatch.context() as patch:
        patch.setattr(climatology, "write_band", failing)
        patch.setattr(
            climatology, "run_tasks", lambda client, function, tasks, in_flight: ((t, function(t)) for t in tasks)
        )
        with pytest.raises(StoreError, match="out of reach"):
            make_climatology(config)
        assert not RunPaths(config.run.folder).climatology.exists()
        patch.setattr(climatology, "write_band", climatology_bands.write_band)
        patch.setattr(climatology, "gather", counting)
        assert contents(make_climatology(config)) == whole
    # The unit that failed had been gathered, the one before was finished: neither is read again.
    assert not read


@pytest.mark.slow
def test_runs_killed_at_any_moment_end_with_equal_bytes(tmp_path, store, rng):
    whole = contents(make_climatology(config_of(tmp_path / "whole", store)))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values_of(tmp_path, store)))
    paths = RunPaths(tmp_path / "run")
    command = [sys.executable, "-m", "pipelines", "data", "climatology", str(path)]
    # Twelve units; killed while the metadata, the first moments, the last of them, and the quantiles are written.
    for units in (0, 1, 5, 8, 10):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and len([*paths.climatology_work.glob("done/*")]) < units:
            time.sleep(0.002)
        while process.poll() is None and not [*paths.climatology_work.glob("scratch/*/*.npy")]:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.2))
        assert process.poll() is None, "too fast to be killed"
        process.kill()
        process.wait()
        assert not paths.climatology.exists()
        assert len([*paths.climatology_work.glob("done/*")]) >= units
        if units == 1:
            first = written(paths.climatology_work / "store.zarr" / "geopotential")
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert contents(paths.climatology) == whole
    assert first
    assert written(paths.climatology / "geopotential") == first, "a finished unit was written again"


def written(folder):
    return sorted(file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file())


def test_a_finished_climatology_is_kept_and_another_one_is_refused(tmp_path, store):
    config = without_quantiles(tmp_path, store)
    path = make_climatology(config)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    assert make_climatology(config) == path
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    with pytest.raises(StoreError, match="other times, channels or settings; delete it"):
        make_climatology(without_quantiles(tmp_path, store, climatology__window_days=31))


def test_an_unfinished_climatology_of_other_settings_is_refused(tmp_path, store, monkeypatch):
    monkeypatch.setattr(climatology, "_run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_climatology(without_quantiles(tmp_path, store))
    with pytest.raises(StoreError, match="other times, channels or settings; delete it"):
        make_climatology(without_quantiles(tmp_path, store, climatology__window_days=31))


@pytest.mark.parametrize(
    ("purpose", "period"),
    [
        ("validation", {"start": "2016-12-31", "end": "2017-01-10"}),
        ("test", {"start": "2015-05-01", "end": "2018-02-01"}),
    ],
)
def test_periods_that_are_scored_are_refused(tmp_path, store, purpose, period):
    values = values_of(tmp_path, store)
    values["data"]["train"] = [{"start": "2010-01-01", "end": "2010-02-01"}]
    values["verify"]["climatology"]["periods"] = values["data"]["train"]
    values["climatology"]["periods"] = [YEARS]
    values["data"][purpose] = [period]
    if purpose == "test":
        values["data"]["validation"] = [{"start": "2012-01-01", "end": "2012-02-01"}]
        with pytest.raises(ValueError, match=r"climatology.periods .* overlaps data.test"):
            Config.model_validate(values)
    else:
        with pytest.raises(UserError, match=r"climatology.periods .* overlap data.validation .*move one"):
            make_climatology(Config.model_validate(values))


def test_a_store_that_lacks_times_is_refused(tmp_path, store):
    longer = {"start": "2014-12-31", "end": "2016-12-31T18:00"}
    with pytest.raises(StoreError, match=r"lacks 4 of .* times of the period"):
        make_climatology(without_quantiles(tmp_path, store, data__train=[longer]))


def test_days_out_of_reach_of_the_periods_are_missing_and_refused_by_name(tmp_path, store, analysis):
    winter = [{"start": "2015-01-01", "end": "2015-01-31T18:00"}]
    path = make_climatology(without_quantiles(tmp_path, store, data__train=winter))
    opened = open_climatology(str(path))
    edge = opened.mean("z500", np.array(["2020-02-15T06"], "datetime64[ns]"))
    rows, weights = [], []
    for day in range(17, 32):
        rows.append(field(analysis, "z500").sel(time=f"2015-01-{day}T06").values)
        weights.append(1 - (46 - day) / 30)
    np.testing.assert_allclose(edge[0], np.average(rows, axis=0, weights=weights), rtol=1e-6)
    with pytest.raises(StoreError, match=r"no values of geopotential for day 183 of the year, 06 UTC"):
        opened.mean("z500", np.array(["2020-07-01T06"], "datetime64[ns]"))


def test_the_command_is_registered_and_says_where_it_wrote(tmp_path, store, caplog):
    from typer.testing import CliRunner

    from pipelines.__main__ import app

    path = tmp_path / "run.yaml"
    values = values_of(tmp_path, store, climatology__quantiles=[], climatology__channels=["z500"])
    path.write_text(yaml.safe_dump(values))
    result = CliRunner().invoke(app, ["data", "climatology", str(path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "climatology.zarr" / "zarr.json").exists()
    shutil.rmtree(tmp_path / "run")
