"""Training from stores to a model folder: it learns, resumes bit for bit, and stops rather than go on broken."""

import json
import random
import signal
import time

import pytest
import torch
import xarray as xr
from tiny_run import digest, new_run, start, write_settings

from fuxi_ens.checkpoint import WEIGHTS, load_checkpoint
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import UserError
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.losses.objective import ObjectiveTerms
from fuxi_ens.model import build_model
from fuxi_ens.paths import RunPaths
from fuxi_ens.provenance import config_hash
from fuxi_ens.train.average import RunningAverage
from fuxi_ens.train.loop import fit
from fuxi_ens.train.module import TrainingModule
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.run import deciding, restore
from fuxi_ens.train.stage import StageRun
from fuxi_ens.train.state import StateStore

TRAIN = (
    "import sys; from fuxi_ens.config import load_config; from fuxi_ens.train.loop import fit; "
    "fit(load_config(sys.argv[1]))"
)


def records(config, kind=None):
    lines = RunPaths(config.run.folder).metrics.read_text().splitlines()
    return [r for r in map(json.loads, lines) if kind in (None, r["kind"])]


def outcome(config):
    """Everything a finished training is compared by: the model's weights, and the record but for its clocks."""
    return digest(RunPaths(config.run.folder).model, "*.safetensors"), [
        r for r in records(config) if r["kind"] != "pace"
    ]


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """An uninterrupted run of 2 + 2 iterations, a state every iteration."""
    config = new_run(world, tmp_path_factory.mktemp("finished"), {"train.checkpoint_every": 1})
    fit(config)
    return config


def test_a_finished_run_has_a_model_that_loads_without_the_config(finished):
    checkpoint = load_checkpoint(RunPaths(finished.run.folder).model)
    assert checkpoint.model.config == finished.model
    assert checkpoint.step_size_hours == 6
    assert checkpoint.provenance["seed"] == 7


def test_the_model_carries_the_statistics_and_static_fields(finished):
    model = load_checkpoint(RunPaths(finished.run.folder).model).model
    statistics = load_statistics(RunPaths(finished.run.folder).statistics, finished)
    torch.testing.assert_close(model.mean, torch.tensor(statistics.mean))
    torch.testing.assert_close(model.std, torch.tensor(statistics.std))
    torch.testing.assert_close(model.increment_std, torch.tensor(statistics.increment_std))
    assert model.const.flatten(1).std(1).gt(0).all()


def test_the_record_counts_iterations_over_all_stages(finished):
    train = records(finished, "train")
    assert [r["iteration"] for r in train] == [1, 2, 3, 4]
    assert [r["stage"] for r in train] == ["deterministic"] * 2 + ["ensemble"] * 2
    assert [r["iteration"] for r in records(finished, "validation")] == [2, 4]
    assert all(r["loss"] > 0 and r["kl"] >= 0 for r in train)


def test_the_record_holds_every_term_and_the_monitors(finished):
    deterministic, ensemble = (records(finished, "train")[i] for i in (1, 3))
    terms = {"loss", "error", "kl", "kl_penalty", "kl_weight", "error_channels", "lr", "skipped"}
    monitors = {"kl_channels", "kl_scales", "kl_variances", "active_dimensions", "spread_skill_ratio"}
    assert deterministic.keys() == terms | {"kind", "iteration", "stage"}
    assert ensemble.keys() == deterministic.keys() | monitors
    assert tuple(ensemble["error_channels"]) == finished.model.channels
    assert deterministic["loss"] == deterministic["error"] > 0.0
    assert ensemble["loss"] == pytest.approx(ensemble["error"] + ensemble["kl_weight"] * ensemble["kl"])


def test_a_posterior_that_tells_nothing_raises_the_alarm_once(world, tmp_path, caplog):
    # Both heads start at zero: in so few iterations the posterior cannot leave the prior.
    fit(new_run(world, tmp_path, {"train.stages.1.iterations": 5, "train.stages.1.learning_rate": 1e-6}))
    alarms = [r.message for r in caplog.records if "posterior collapse" in r.message]
    assert len(alarms) == 1
    assert "stage 'ensemble'" in alarms[0]


def test_a_low_rank_latent_trains_resumes_and_forecasts(world, tmp_path, monkeypatch):
    changes = {"model.latent": "low_rank", "model.latent_rank": 3, "train.checkpoint_every": 1}
    whole, stopped = (new_run(world, tmp_path / name, changes) for name in ("whole", "stopped"))
    fit(whole)
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(Killed):
            fit(stopped)
    fit(stopped)
    assert outcome(stopped) == outcome(whole)
    trained = load_checkpoint(RunPaths(whole.run.folder).model).model
    assert trained.dist_p.patterns.linear.weight.abs().max() > 0
    run_forecast(whole)
    forecast = xr.open_zarr(RunPaths(whole.run.folder).forecast)
    assert forecast["2m_temperature"].notnull().all()
    assert (forecast["2m_temperature"].std("number") > 0).any()


def test_the_newest_two_states_are_kept(finished):
    states = sorted(path.name for path in RunPaths(finished.run.folder).training.glob("state_*"))
    assert states == ["state_01_00000001", "state_02_00000000"]


def test_the_model_is_the_running_average(finished):
    deployed = load_checkpoint(RunPaths(finished.run.folder).model, posterior=True).model
    ranks = Ranks.alone()
    store = StateStore(RunPaths(finished.run.folder).training, config_hash(finished, *deciding(finished)), 2, ranks)
    trained = build_model(finished.model)
    average = RunningAverage(trained, 0.0)
    restore(store, store.newest(), trained, average)
    pairs = list(zip(trained.parameters(), deployed.parameters(), strict=True))
    assert any(not torch.equal(mine, theirs) for mine, theirs in pairs)
    with average.in_place():
        assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_the_loss_goes_down(world, tmp_path):
    stages = [
        {"name": "deterministic", "objective": "l1", "iterations": 40, "learning_rate": 1e-2, "batch_size": 4},
        {"name": "ensemble", "objective": "crps_kl", "iterations": 20, "learning_rate": 3e-3, "batch_size": 2}
        | {"members": 2, "sampled": "both"},
    ]
    model = {"model.output": "increment", "model.initial_logvar": -4.0}
    every = {"train.validate_every": 1000, "train.checkpoint_every": 1000, "train.ema_decay": 0.9}
    config = new_run(world, tmp_path, {"train.stages": stages, "data.in_memory": True, **model, **every})
    fit(config)
    loss = [r["loss"] for r in records(config, "train")]
    assert sum(loss[35:40]) < 0.7 * sum(loss[:5])
    deterministic, ensemble = records(config, "validation")
    assert ensemble["score"] < deterministic["score"]


class Killed(BaseException):
    """Stands for any sudden end of the process."""


def interrupt(monkeypatch, after):
    """Let `fit` die in place of its (after + 1)-th iteration."""
    iterate, done = StageRun._iterate, []

    def dying(*arguments, **options):
        if len(done) == after:
            raise Killed
        done.append(1)
        return iterate(*arguments, **options)

    monkeypatch.setattr(StageRun, "_iterate", dying)


@pytest.mark.parametrize("after", range(4))
def test_a_run_stopped_anywhere_resumes_bit_for_bit(world, finished, tmp_path, monkeypatch, after):
    config = new_run(world, tmp_path, {"train.checkpoint_every": 1})
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(Killed):
            fit(config)
    assert not RunPaths(tmp_path).model.exists()
    fit(config)
    assert outcome(config) == outcome(finished)


def test_iterations_since_the_last_state_are_done_again(world, finished, tmp_path, monkeypatch):
    # State at iteration 2 of 4 only; stopped during iteration 4, whose predecessor is in the record already.
    config = new_run(world, tmp_path, {"train.checkpoint_every": 1000})
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(Killed):
            fit(config)
    assert [r["iteration"] for r in records(config, "train")] == [1, 2, 3]
    fit(config)
    assert outcome(config) == outcome(finished)


def test_a_finished_run_started_again_changes_nothing(world, tmp_path, monkeypatch):
    config = new_run(world, tmp_path)
    fit(config)
    before = outcome(config)
    interrupt(monkeypatch, 0)
    fit(config)
    assert outcome(config) == before


def test_a_lost_model_is_written_again_from_the_newest_state(world, finished, tmp_path, monkeypatch):
    config = new_run(world, tmp_path, {"train.checkpoint_every": 1})
    fit(config)
    (RunPaths(tmp_path).model / WEIGHTS).unlink()
    monkeypatch.setattr("fuxi_ens.train.loop.open_frames", None)
    fit(config)
    assert outcome(config) == outcome(finished)


def test_the_run_folder_may_move_and_the_forecast_may_change(world, finished, tmp_path, monkeypatch):
    moved = new_run(
        world, tmp_path / "a", {"train.checkpoint_every": 1, "forecast.members": 5, "report.title": "other"}
    )
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(Killed):
            fit(moved)
    (tmp_path / "a").rename(tmp_path / "b")
    there = new_run(world, tmp_path / "b", {"train.checkpoint_every": 1})
    fit(there)
    assert outcome(there) == outcome(finished)


@pytest.mark.parametrize(
    "change",
    [{"run.seed": 8}, {"model.embedding": 24}, {"train.stages.1.learning_rate": 1e-5}, {"train.ema_decay": 0.5}],
)
def test_a_state_of_other_settings_is_refused(world, tmp_path, change):
    fit(new_run(world, tmp_path))
    with pytest.raises(UserError, match="other settings; resume with the same config"):
        fit(new_run(world, tmp_path, change))


def stopped_run(world, folder, monkeypatch):
    """Config of a run that was stopped during iteration 4, a state every iteration."""
    config = new_run(world, folder, {"train.checkpoint_every": 1})
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(Killed):
            fit(config)
    return config


def test_a_damaged_newest_state_falls_back_to_the_one_before(world, finished, tmp_path, monkeypatch, caplog):
    config = stopped_run(world, tmp_path, monkeypatch)
    newest = max(RunPaths(tmp_path).training.glob("state_*"))
    next(newest.glob("*.distcp")).write_bytes(b"garbage")
    fit(config)
    assert any("damaged" in r.message and newest.name in r.message for r in caplog.records if r.levelname == "WARNING")
    assert outcome(config) == outcome(finished)


def test_how_often_a_run_is_saved_and_logged_may_change(world, finished, tmp_path, monkeypatch):
    stopped_run(world, tmp_path, monkeypatch)
    often = {"train.checkpoint_every": 5, "train.log_every": 2, "train.validate_every": 1}
    changed = new_run(world, tmp_path, {**often, "train.validation_init_times": 1, "data.in_memory": True})
    fit(changed)
    assert outcome(changed)[0] == outcome(finished)[0]


def broken_terms(module, *_, **__):
    nan = torch.nan * module.model.decoder[0].pred_layer.pl_head.bias.sum()
    error = torch.zeros(10)
    error[2] = torch.nan
    return ObjectiveTerms(nan, nan, torch.tensor(0.0), torch.tensor(0.0), 0.0, error)


def test_a_loss_that_is_not_finite_names_the_channel_and_leaves_no_model(world, tmp_path, monkeypatch):
    config = new_run(world, tmp_path)
    monkeypatch.setattr(TrainingModule, "forward", broken_terms)
    with pytest.raises(UserError, match=r"'deterministic' is not finite at iteration 0 .*channels \['t850'\]"):
        fit(config)
    assert not RunPaths(tmp_path).model.exists()
    assert not list(RunPaths(tmp_path).training.glob("state_*"))


def wild_run(world, folder, objective, learning_rate):
    stage = {"name": "wild", "objective": objective, "iterations": 6, "learning_rate": learning_rate, "members": 2}
    return new_run(world, folder, {"train.stages": [stage], "train.weight_decay": 0.0})


@pytest.mark.parametrize("objective", ["l1", "crps_kl"])
def test_a_training_that_diverges_stops_with_the_channels_named(world, tmp_path, objective):
    with pytest.raises(UserError, match=r"loss of stage 'wild' is not finite at iteration .*channels \['z500', 'z850'"):
        fit(wild_run(world, tmp_path, objective, 1e3))
    assert not RunPaths(tmp_path).model.exists()


@pytest.mark.parametrize("objective", ["l1", "crps_kl"])
def test_gradients_too_large_for_their_norm_stop_the_training(world, tmp_path, objective):
    with pytest.raises(
        UserError, match=r"gradient of stage 'wild' is not finite at iteration 1\b.*lower learning_rate"
    ):
        fit(wild_run(world, tmp_path, objective, 1e25))
    assert not RunPaths(tmp_path).model.exists()


def test_a_gradient_that_is_not_finite_names_the_tensor_and_leaves_no_model(world, tmp_path, monkeypatch):
    def steep(module, *_, **__):
        # The root of zero: a finite loss with an infinite slope.
        loss = module.model.decoder[0].pred_layer.pl_head.bias.square().sum().sqrt()
        return ObjectiveTerms(loss, loss, torch.zeros(()), torch.zeros(()), 0.0, torch.zeros(10))

    config = new_run(world, tmp_path)
    monkeypatch.setattr(TrainingModule, "forward", steep)
    with pytest.raises(
        UserError, match=r"iteration 0 in 1 tensors, first decoder\.0\.pred_layer\.pl_head\.bias; lower"
    ):
        fit(config)
    assert not RunPaths(tmp_path).model.exists()


def test_statistics_of_other_periods_are_refused(world, tmp_path):
    with pytest.raises(UserError, match="statistics"):
        fit(new_run(world, tmp_path, {"data.train.0.end": "2016-01-04T18:00"}))


def test_training_without_statistics_names_the_command(world, tmp_path):
    config = new_run(world, tmp_path)
    RunPaths(tmp_path).statistics.unlink()
    with pytest.raises(UserError, match="fuxi-ens data statistics"):
        fit(config)


def test_frames_in_memory_give_the_same_bits(world, finished, tmp_path):
    config = new_run(world, tmp_path, {"train.checkpoint_every": 1, "data.in_memory": True})
    fit(config)
    assert outcome(config) == outcome(finished)


@pytest.mark.slow
def test_killed_at_a_random_moment_and_resumed_equals_uninterrupted(world, tmp_path):
    stages = {"train.stages.0.iterations": 30, "train.stages.1.iterations": 30, "train.checkpoint_every": 7}
    whole, killed = (new_run(world, tmp_path / name, stages) for name in ("whole", "killed"))
    fit(whole)
    at = random.Random(2025).randrange(5, 55)
    process = start(TRAIN, write_settings(killed, tmp_path / "killed.yaml"))
    metrics = RunPaths(killed.run.folder).metrics
    while process.poll() is None and (not metrics.exists() or metrics.read_text().count('"train"') < at):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    assert not RunPaths(killed.run.folder).model.exists()
    fit(killed)
    assert outcome(killed) == outcome(whole)
