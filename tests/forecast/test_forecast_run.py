"""`run_forecast`: what is complete stays, what is not is redone with equal bits, what is wrong stops."""

import random
import shutil
import signal
import time

import numpy as np
import pytest
import torch
import xarray as xr
from makers import WRITTEN
from tiny_run import digest, new_run, randomize, start, write_settings

from fuxi_ens.checkpoint import load_checkpoint, load_models, save_checkpoint
from fuxi_ens.data.era5 import open_analysis
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import UserError
from fuxi_ens.forecast import ensemble
from fuxi_ens.forecast.draws import Draws
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.forecast.guard import Guard
from fuxi_ens.forecast.rollout import EnsembleSettings, rollout
from fuxi_ens.forecast.store import ForecastStore
from fuxi_ens.paths import RunPaths
from fuxi_ens.provenance import CONTROL_MEMBER
from fuxi_ens.train.setup import initial_model

FORECAST = (
    "import sys; from fuxi_ens.config import load_config; from fuxi_ens.forecast.ensemble import run_forecast; "
    "run_forecast(load_config(sys.argv[1]))"
)
INIT_TIMES = np.array(["2018-01-02T00", "2018-01-02T12"], dtype="datetime64[ns]")


@pytest.fixture(scope="module")
def model_folder(world, tmp_path_factory):
    """A model with random weights: members differ, and forecasts stay bounded."""
    config = new_run(world, tmp_path_factory.mktemp("model"), {"model.output": "increment"})
    statistics = load_statistics(RunPaths(config.run.folder).statistics, config)
    model = randomize(initial_model(config, statistics, torch.device("cpu")))
    save_checkpoint(RunPaths(config.run.folder).model, model, 6, {"made": "by hand"})
    return RunPaths(config.run.folder).model


@pytest.fixture
def run(world, model_folder, tmp_path):
    """Make a run folder that holds the model; settings may be changed."""

    def make(name="run", **changes):
        config = new_run(world, tmp_path / name, {"model.output": "increment", **changes})
        if not RunPaths(config.run.folder).model.exists():
            shutil.copytree(model_folder, RunPaths(config.run.folder).model)
        return config

    return make


@pytest.fixture(scope="module")
def complete(world, model_folder, tmp_path_factory):
    """An uninterrupted forecast."""
    folder = tmp_path_factory.mktemp("complete")
    config = new_run(world, folder, {"model.output": "increment"})
    shutil.copytree(model_folder, RunPaths(folder).model)
    run_forecast(config)
    return config


def arrays(config):
    with xr.open_zarr(RunPaths(config.run.folder).forecast, chunks=None, decode_timedelta=True) as dataset:
        return dataset.load()


def same_bits(a, b):
    return all(a[name].values.tobytes() == b[name].values.tobytes() for name in a.data_vars)


def markers(config):
    folder = RunPaths(config.run.folder).forecast / ".complete"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_store_holds_the_roll_out_of_the_model(complete):
    models = load_models(RunPaths(complete.run.folder).model)
    analysis = open_analysis(complete.data.store, complete.model.channels, complete.model.grid, complete.data.step_size)
    got = arrays(complete)
    settings = EnsembleSettings(Draws("random", 7, 2), False, 4, 2, complete.data.step_size, "float32")
    guard = Guard(complete.model.channels, complete.model.grid, None, proceed=False)
    for row, init_time in enumerate(INIT_TIMES):
        history = analysis.read(np.array([init_time - complete.data.step_size, init_time]))
        for lead, (_, ens) in enumerate(rollout(models, history, init_time, settings, guard)):
            of = {name: ens[:, i] for i, name in enumerate(complete.model.channels)}
            assert np.array_equal(got["2m_temperature"][row, :, lead], of["t2m"])
            assert np.array_equal(got["geopotential"].sel(level=500)[row, :, lead], of["z500"])
            np.testing.assert_allclose(got["total_precipitation_6hr"][row, :, lead], of["tp"] / 1e3, rtol=1e-6)


def test_all_that_was_asked_for_is_there(complete):
    got = arrays(complete)
    assert dict(got.sizes) | {"latitude": 8, "longitude": 16} == dict(got.sizes)
    assert (got.sizes["time"], got.sizes["number"], got.sizes["prediction_timedelta"]) == (2, 2, 4)
    assert len(got.data_vars) == len(WRITTEN)
    assert got["2m_temperature"].notnull().all()
    assert got["temperature"].sel(level=500).isnull().all()
    assert markers(complete) == ["2018-01-02T00:00_0-1", "2018-01-02T12:00_0-1"]


def test_members_and_init_times_differ(complete):
    t2m = arrays(complete)["2m_temperature"]
    assert (t2m[:, 0] != t2m[:, 1]).any()
    assert (t2m[0] != t2m[1]).any()


@pytest.mark.parametrize("members", [1, 5])
def test_a_member_is_the_same_whatever_the_number_of_members(run, complete, members):
    # A single member has no fair score, so the config must say that none is wanted.
    config = run(**{"forecast.members": members, "verify.estimator": "standard"})
    run_forecast(config)
    few, many = sorted((arrays(config), arrays(complete)), key=lambda dataset: dataset.sizes["number"])
    assert same_bits(few, many.isel(number=slice(few.sizes["number"])))


def test_an_init_time_is_the_same_whatever_other_init_times(run, complete):
    config = run(**{"forecast.init_times.start": "2018-01-02T12:00"})
    run_forecast(config)
    assert same_bits(arrays(config), arrays(complete).isel(time=slice(1, 2)))


@pytest.mark.parametrize("leads_per_shard", [1, 3, 20])
def test_shards_do_not_change_the_values(run, complete, leads_per_shard):
    config = run(**{"forecast.leads_per_shard": leads_per_shard})
    run_forecast(config)
    assert same_bits(arrays(config), arrays(complete))


class Killed(BaseException):
    """Stands for any sudden end of the process."""


VARIABLES = len(WRITTEN)
"""One channel each."""


@pytest.mark.parametrize("after", [0, 1, VARIABLES, 2 * VARIABLES, 3 * VARIABLES + 2, 4 * VARIABLES])
def test_a_forecast_stopped_anywhere_continues_to_the_same_bits(run, complete, monkeypatch, after):
    config = run()
    write, done = ForecastStore.write, []

    def dying(self, *arguments):
        if len(done) == after:
            raise Killed
        done.append(1)
        write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ForecastStore, "write", dying)
        if after < 4 * VARIABLES:
            with pytest.raises(Killed):
                run_forecast(config)
        else:
            run_forecast(config)
    assert len(markers(config)) == after // (2 * VARIABLES)
    run_forecast(config)
    assert same_bits(arrays(config), arrays(complete))
    assert len(markers(config)) == 2


def test_complete_init_times_are_not_done_again(run, monkeypatch):
    config = run()
    run_forecast(config)
    before = digest(RunPaths(config.run.folder).forecast)
    times = {path: path.stat().st_mtime_ns for path in RunPaths(config.run.folder).forecast.rglob("*")}
    monkeypatch.setattr(ensemble, "rollout", None)
    run_forecast(config)
    assert digest(RunPaths(config.run.folder).forecast) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_only_unmarked_init_times_are_done_again(run, complete, monkeypatch):
    config = run()
    run_forecast(config)
    (RunPaths(config.run.folder).forecast / ".complete" / "2018-01-02T12:00_0-1").unlink()
    started = []
    real = ensemble.rollout
    monkeypatch.setattr(ensemble, "rollout", lambda *a: started.append(a[2]) or real(*a))
    run_forecast(config)
    assert started == [INIT_TIMES[1]]
    assert same_bits(arrays(config), arrays(complete))


@pytest.mark.parametrize("change", [{"run.seed": 8}, {"forecast.members": 3}, {"forecast.steps": 8}])
def test_other_settings_in_the_same_folder_are_refused(run, change):
    run_forecast(run())
    with pytest.raises(UserError, match=r"holds another forecast .*choose another run.folder"):
        run_forecast(run(**change))


def test_another_model_in_the_same_folder_is_refused(run):
    config = run()
    run_forecast(config)
    (RunPaths(config.run.folder).forecast / ".complete" / "2018-01-02T12:00_0-1").unlink()
    folder = RunPaths(config.run.folder).model
    checkpoint = load_checkpoint(folder)
    save_checkpoint(folder, randomize(checkpoint.model, seed=1), 6, checkpoint.provenance)
    with pytest.raises(UserError, match="another forecast"):
        run_forecast(config)


def test_a_store_that_was_deleted_is_made_again(run, complete):
    config = run()
    run_forecast(config)
    shutil.rmtree(RunPaths(config.run.folder).forecast)
    run_forecast(config)
    assert same_bits(arrays(config), arrays(complete))


@pytest.mark.parametrize(
    "change",
    [{"report.title": "Winter"}, {"verify.regions": ["global"]}, {"run.name": "other"}, {"train.checkpoint_every": 9}],
)
def test_what_does_not_touch_the_forecast_may_change(run, change):
    run_forecast(run())
    run_forecast(run(**change))


def test_model_settings_that_are_not_the_models_are_refused(run):
    with pytest.raises(UserError, match="another model section"):
        run_forecast(run(**{"model.dropout": 0.5}))


def test_a_broken_model_names_member_channel_and_lead_and_marks_nothing(run):
    config = run()
    folder = RunPaths(config.run.folder).model
    checkpoint = load_checkpoint(folder)
    with torch.no_grad():
        checkpoint.model.decoder[0].pred_layer.sf_head.bias[0] = torch.nan
    save_checkpoint(folder, checkpoint.model, 6, {})
    with pytest.raises(UserError, match=r"member 0 .*2018-01-02.*: t2m is nan K at lead time 6 h, 78.75N 0E"):
        run_forecast(config)
    assert markers(config) == []


def test_a_model_of_another_step_size_is_refused(run):
    config = run()
    folder = RunPaths(config.run.folder).model
    save_checkpoint(folder, load_checkpoint(folder).model, 12, {})
    with pytest.raises(UserError, match=r"steps 12 h, the config says data.step_size_hours 6"):
        run_forecast(config)


def test_a_run_without_a_model_names_the_command(world, tmp_path):
    with pytest.raises(UserError, match="run `fuxi-ens train`"):
        run_forecast(new_run(world, tmp_path))


def test_an_init_time_outside_the_analysis_stops_before_anything_is_computed(run, monkeypatch):
    config = run(**{"data.test.0.end": "2018-02-01", "forecast.init_times.end": "2018-01-20T12:00"})
    monkeypatch.setattr(ensemble, "rollout", None)
    with pytest.raises(UserError, match="no analysis at 2018-01-06T00:00"):
        run_forecast(config)
    assert markers(config) == []


@pytest.mark.slow
def test_killed_and_started_again_equals_uninterrupted(run, tmp_path):
    many = {"forecast.init_times.start": "2018-01-01T12:00", "forecast.init_times.end": "2018-01-04T12:00"}
    size = {"forecast.init_times.every_hours": 6, "forecast.members": 6, "forecast.steps": 12}
    whole, killed = run("whole", **many, **size), run("killed", **many, **size)
    run_forecast(whole)
    process = start(FORECAST, write_settings(killed, tmp_path / "killed.yaml"))
    while process.poll() is None and not markers(killed):
        time.sleep(0.001)
    time.sleep(random.Random(2025).uniform(0.0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the forecast was over before it could be killed"
    assert 0 < len(markers(killed)) < len(markers(whole))
    run_forecast(killed)
    assert same_bits(arrays(killed), arrays(whole))


@pytest.mark.parametrize("control", [False, True])
def test_a_store_with_a_control_member_says_so(run, control):
    config = run(**{"forecast.control": control})
    plan = ensemble._plan(config, load_models(RunPaths(config.run.folder).model), "era5")
    assert plan.attributes.get(CONTROL_MEMBER) == (0 if control else None)
