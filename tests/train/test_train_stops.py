"""Stopping on a signal, on one rank or many, and going on: with the same bits, or on another number of ranks."""

import json
import signal
import time

import pytest
from ranks_world import finish, fit_on_ranks, start_fit
from tiny_run import digest, new_run, start, write_settings

from fuxi_ens.errors import ExitCode, Stopped
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.loop import fit
from fuxi_ens.train.signals import stop_request
from fuxi_ens.train.stage import StageRun

L1 = {"name": "deterministic", "objective": "l1", "iterations": 12, "learning_rate": 1e-3}
CRPS = {"name": "ensemble", "objective": "crps_kl", "iterations": 28, "learning_rate": 1e-3, "members": 2}
LONG = {"train.stages": [L1, CRPS], "train.checkpoint_every": 1000, "train.validate_every": 1000}
LONG |= {"model.dropout": 0.1}


def records(config):
    lines = map(json.loads, RunPaths(config.run.folder).metrics.read_text().splitlines())
    return [record for record in lines if record["kind"] != "pace"]


def outcome(config):
    return digest(RunPaths(config.run.folder).model, "*.safetensors"), records(config)


@pytest.fixture
def listening(monkeypatch):
    """This process notes signals as a training does; afterwards they do what they did."""
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    monkeypatch.setattr(stop_request, "_heard", None)
    with stop_request.listening():
        yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signal_during(monkeypatch, at, number):
    iterate = StageRun._iterate

    def heard(self, i, *arguments, **options):
        if (self.number, i) == at:
            signal.raise_signal(number)
        return iterate(self, i, *arguments, **options)

    monkeypatch.setattr(StageRun, "_iterate", heard)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("at", [(0, 0), (0, 1), (1, 0)])
def test_a_signal_ends_the_iteration_saves_and_stops(world, tmp_path, monkeypatch, listening, number, at):
    changes = {"train.checkpoint_every": 1000}
    whole, stopped = (new_run(world, tmp_path / name, changes) for name in ("whole", "stopped"))
    fit(whole)
    with monkeypatch.context() as patch:
        signal_during(patch, at, number)
        with pytest.raises(Stopped, match=f"{number.name} after iteration {2 * at[0] + at[1] + 1}"):
            fit(stopped)
    assert not RunPaths(stopped.run.folder).model.exists()
    assert records(stopped)[-1]["iteration"] == 2 * at[0] + at[1] + 1
    stop_request._heard = None
    fit(stopped)
    assert outcome(stopped) == outcome(whole)


def test_a_signal_in_the_last_iteration_changes_nothing(world, tmp_path, monkeypatch, listening):
    config = new_run(world, tmp_path)
    signal_during(monkeypatch, (1, 1), signal.SIGUSR1)
    fit(config)
    assert RunPaths(tmp_path).model.exists()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_signals_are_what_they_were_after_a_training_that_was_not_stopped(monkeypatch, number):
    monkeypatch.setattr(stop_request, "_heard", None)
    before = signal.getsignal(number)
    with stop_request.listening():
        assert signal.getsignal(number) != before
    assert signal.getsignal(number) == before


@pytest.mark.slow
def test_the_command_says_that_it_was_stopped_and_goes_on(world, tmp_path):
    changes = {**LONG, "train.stages": [L1, CRPS | {"iterations": 300}]}
    config = new_run(world, tmp_path, changes)
    settings = write_settings(config, tmp_path / "run.yaml")
    process = start("from pipelines.__main__ import main; import sys; main()", "train", settings)
    stop_at([process], config, 14)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == ExitCode.STOPPED
    assert "stopped on SIGUSR1 after iteration" in said
    assert "start it again to go on from there" in said
    assert next(RunPaths(tmp_path).training.glob("state_*"), None)


def stop_at(processes, config, iterations):
    """Ask one rank, not the first, to stop when rank 0 has recorded so many iterations."""
    metrics = RunPaths(config.run.folder).metrics
    while not metrics.exists() or metrics.read_text().count('"train"') < iterations:
        assert processes[0].poll() is None, processes[0].communicate()[1]
        time.sleep(0.01)
    processes[-1].send_signal(signal.SIGUSR1)


@pytest.fixture(scope="module")
def two_ranks(world, tmp_path_factory):
    """Two ranks that nobody stopped, sharded."""
    config = new_run(world, tmp_path_factory.mktemp("two_ranks"), {**LONG, "train.parallel": "fsdp"})
    fit_on_ranks(2, [config])
    return config


@pytest.mark.slow
def test_two_ranks_stopped_by_one_signal_resume_bit_for_bit(world, two_ranks, tmp_path):
    config = new_run(world, tmp_path, {**LONG, "train.parallel": "fsdp"})
    processes = start_fit(2, [config])
    stop_at(processes, config, 15)
    said = finish(processes, ExitCode.STOPPED)
    assert "stopped on SIGUSR1" in said[1]
    assert len(records(config)) < len(records(two_ranks))
    fit_on_ranks(2, [config])
    assert outcome(config) == outcome(two_ranks)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_ranks(world, two_ranks, tmp_path, before, after):
    """The global batch is kept, so losses are those of a run that never changed, but for the order of sums."""
    sizes = {1: 2, 2: 1}

    def config(ranks):
        stages = [{**stage, "batch_size": sizes[ranks]} for stage in (L1, CRPS)]
        return new_run(world, tmp_path, {**LONG, "train.stages": stages, "train.parallel": "fsdp"})

    processes = start_fit(before, [config(before)])
    stop_at(processes, config(before), 15)
    finish(processes, ExitCode.STOPPED)
    fit_on_ranks(after, [config(after)])
    expected = {r["iteration"]: r["loss"] for r in records(two_ranks) if r["kind"] == "train"}
    found = {r["iteration"]: r["loss"] for r in records(config(after)) if r["kind"] == "train"}
    assert found == pytest.approx(expected, rel=1e-4)
