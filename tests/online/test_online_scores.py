"""Scores taken while the forecast runs are those of its store to the last bit; without fields they are what is left."""

import logging
import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_run import make_world, new_run, randomize, write_settings
from typer.testing import CliRunner

from fuxi_ens.channels import components
from fuxi_ens.checkpoint import load_checkpoint, save_checkpoint
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.forecast.estimate import estimate, planned
from fuxi_ens.forecast.sink import FailedMember, ForecastPlan, WorkItem
from fuxi_ens.online.sink import open_scores_sink, sinks
from fuxi_ens.paths import RunPaths
from fuxi_ens.preflight import preflight
from fuxi_ens.provenance import provenance
from fuxi_ens.times import label
from fuxi_ens.train.setup import initial_model
from fuxi_ens.verify.files import read_statistics
from fuxi_ens.verify.run import verify
from fuxi_ens.verify.scorecard import scorecard
from pipelines.__main__ import app


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("online_world"))


@pytest.fixture(scope="module")
def model_folder(world, tmp_path_factory):
    config = new_run(world, tmp_path_factory.mktemp("model"), {"model.output": "increment"})
    statistics = load_statistics(RunPaths(config.run.folder).statistics, config)
    model = randomize(initial_model(config, statistics, torch.device("cpu")))
    save_checkpoint(RunPaths(config.run.folder).model, model, 6, {"made": "by hand"})
    return RunPaths(config.run.folder).model


@pytest.fixture
def make(world, model_folder, tmp_path):
    """Config of a run that scores online, its model in place; settings may be changed."""

    def made(**changes):
        settings = {"model.output": "increment", "forecast.scores": True}
        config = new_run(world, tmp_path / "run", {**settings, **{k.replace("__", "."): v for k, v in changes.items()}})
        if not RunPaths(config.run.folder).model.exists():
            shutil.copytree(model_folder, RunPaths(config.run.folder).model)
        return config

    return made


def forecast(config):
    return run_forecast(config, open_sinks=sinks(config))


def offline(config):
    paths = RunPaths(config.run.folder)
    about = provenance(config, config.data, config.forecast, config.verify)
    return verify(config, paths.scores, str(paths.forecast), about)


def ours(config):
    folder = RunPaths(config.run.folder).scores / config.verify.forecast_name
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.nc"))}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"forecast__keep_bits": {"z": 6, "t2m": 7, "u10m": 5}},
        {"forecast__lead_every_hours": 12},
        {"forecast__members": 5, "forecast__control": True, "forecast__leads_per_shard": 3},
        {"verify__channels": ["z500", "t2m", "ws10m"], "verify__scores": ["ensemble", "wind", "ranks"]},
        {"verify__scores": ["ensemble", "maps"], "verify__map_lead_hours": [12]},
        {
            "verify__channels": ["ws10m", "z500", "t2m"],
            "verify__scores": ["ensemble", "spectra", "wind", "spread", "multivariate", "hersbach"],
            "forecast__control": True,
            "forecast__keep_bits": {"u10m": 5},
        },
        {"verify__channels": ["tp24", "z500", "tp", "t2m"], "forecast__steps": 6, "forecast__keep_bits": {"tp": 5}},
        {"verify__channels": ["z500", "t2m", "tp24"], "forecast__control": True},
    ],
    ids=[
        "plain",
        "rounded",
        "every second lead time",
        "last batch incomplete",
        "wind from components",
        "maps",
        "all that needs components",
        "sums over a day",
        "sums without the control member",
    ],
)
def test_online_files_are_those_of_the_store(make, changes):
    config = make(**changes)
    forecast(config)
    online = ours(config)
    assert len(online) == 2
    shutil.rmtree(RunPaths(config.run.folder).scores)
    offline(config)
    assert ours(config) == online


def test_without_fields_the_scores_are_the_same_and_the_card_is_made(make):
    config = make()
    forecast(config)
    expected = ours(config)
    paths = RunPaths(config.run.folder)
    shutil.rmtree(paths.scores)
    shutil.rmtree(paths.forecast)
    config = make(forecast__keep_fields=False)
    summary = forecast(config)
    assert (summary.done, summary.left, summary.store) == (2, 0, paths.scores)
    assert ours(config) == expected
    offline(config)
    table = scorecard(read_statistics([paths.scores]))
    assert set(table["system"]) == {config.verify.forecast_name, "theirs", "climatology", "persistence"}
    assert not (paths.forecast / "zarr.json").exists()


def test_what_is_scored_is_not_made_again(make, caplog):
    config = make(forecast__keep_fields=False)
    forecast(config)
    before = {path: path.stat().st_mtime_ns for path in RunPaths(config.run.folder).scores.rglob("*.nc")}
    lost = min(before)
    content = lost.read_bytes()
    lost.unlink()
    forecast(config)
    assert lost.read_bytes() == content
    assert all(path.stat().st_mtime_ns == then for path, then in before.items() if path != lost)


def test_without_fields_and_scores_verify_says_what_to_run(make):
    config = make(forecast__keep_fields=False)
    with pytest.raises(StoreError, match=r"keep_fields is false.*run `fuxi-ens forecast`"):
        offline(config)


def plan_of(config):
    items = tuple(WorkItem(time, config.forecast.numbers) for time in config.forecast.init_times.times)
    attributes = {**provenance(config, config.forecast), "weights_hash": "w" * 64}
    return ForecastPlan(config, config.model.channels, items, attributes)


def test_an_ensemble_that_lost_a_member_has_no_statistics(make, caplog):
    config = make()
    plan = plan_of(config)
    sink, item = open_scores_sink(plan), plan.items[0]
    assert not sink.is_finished(item)
    sink.begin(item)
    with caplog.at_level(logging.WARNING):
        sink.finish(item, [FailedMember(1, "it blew up")])
    sink.close()
    assert "no statistics, because 1 members were given up" in caplog.text
    assert sink.is_finished(item)
    assert ours(config) == {}


class TestMembersThatFail:
    """A model whose temperature changes wildly, watched so that one of two init times loses members."""

    @pytest.fixture
    def unstable(self, make):
        config = make(forecast__members=4, forecast__guard_factor="off", forecast__scores=False)
        folder = RunPaths(config.run.folder).model
        model = load_checkpoint(folder).model
        with torch.no_grad():
            model.increment_std[config.model.channels.index("t2m")] = 500.0
        save_checkpoint(folder, model, 6, {})
        run_forecast(config)
        with xr.open_zarr(config.forecast_store, chunks=None) as dataset:
            # Limits of t2m are 170 K and 340 K: how far they must be widened for each init time.
            t2m = dataset["2m_temperature"].load()
        needed = np.abs(t2m - 255).max(("number", "prediction_timedelta", "latitude", "longitude")).values / 85
        shutil.rmtree(config.forecast_store)
        self.lost = int(np.argmax(needed))

        def with_fields(kept):
            return make(
                forecast__members=4,
                forecast__guard_factor=float(needed.mean()),
                forecast__on_failure="continue",
                forecast__keep_fields=kept,
            )

        return with_fields

    @pytest.mark.parametrize("kept", [True, False])
    def test_they_are_named_now_and_in_later_runs_which_make_nothing(self, unstable, kept, tmp_path, monkeypatch):
        config = unstable(kept)
        first = forecast(config)
        assert (first.done, first.left) == (2, 0)
        name = label(config.forecast.init_times.times[self.lost])
        assert first.failed
        assert all(f"of the forecast from {name}: t2m is " in reason for reason in first.failed)
        assert len(ours(config)) == 1
        monkeypatch.setattr("fuxi_ens.forecast.ensemble.rollout", None)
        assert forecast(config).failed == first.failed
        result = CliRunner().invoke(app, ["forecast", str(write_settings(config, tmp_path / "run.yaml"))])
        assert isinstance(result.exception, UserError)
        assert str(result.exception).startswith(f"{len(first.failed)} members were given up")

    @pytest.mark.parametrize("kept", [True, False])
    def test_their_init_time_is_left_out_of_all_scores(self, unstable, kept, caplog):
        config = unstable(kept)
        forecast(config)
        online = ours(config)
        if kept:
            shutil.rmtree(RunPaths(config.run.folder).scores)
        offline(config)
        assert "1 init times lack members that were given up, and are left out" in caplog.text
        assert ours(config) == online
        statistics = read_statistics([RunPaths(config.run.folder).scores])
        assert {data.sizes["init_time"] for data in statistics.values()} == {1}

    def test_a_note_of_other_settings_is_no_note_of_this_run(self, unstable):
        config = unstable(kept=False)
        forecast(config)
        values = config.model_dump()
        values["run"]["seed"] += 1
        with pytest.raises(StoreError, match=r"given_up has config_hash .*must not mix"):
            forecast(type(config).model_validate(values))


def test_a_report_without_fields_has_scores_and_says_how_many(make, tmp_path):
    config = make(forecast__keep_fields=False)
    forecast(config)
    offline(config)
    lost = min((RunPaths(config.run.folder).scores).glob("*/*.nc")).name
    for path in RunPaths(config.run.folder).scores.glob(f"*/{lost}"):
        path.unlink()
    settings = str(write_settings(config, tmp_path / "run.yaml"))
    result = CliRunner().invoke(app, ["scorecard", "--config", settings], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    page = (RunPaths(config.run.folder).report / "report.html").read_text()
    assert "Only 1 of the 2 init times of the config were scored." in page
    assert config.report.title in page


def test_check_asks_for_no_room_without_fields(make):
    kept = {finding.check: finding.detail for finding in preflight(make(), ["forecast"])}
    config = make(forecast__keep_fields=False)
    found = {finding.check: finding.detail for finding in preflight(config, ["forecast"])}
    assert "kB before compression" in kept["forecast store"]
    assert "forecast store" not in found
    assert found["forecast scores"] == planned(config)
    assert planned(config).startswith("no fields are kept, only statistics of 2 init times")
    assert (estimate(config).store_bytes, estimate(config).left_bytes) == (0, 0)


def test_memory_without_fields_does_not_grow_with_what_would_be_stored(make):
    def host(**changes):
        return estimate(make(forecast__keep_fields=False, **changes)).host_bytes

    assert host(forecast__leads_per_shard=4) == host(forecast__leads_per_shard=1)
    assert host(forecast__leads_in_flight=40) == host()
    field = 4 * 8 * 16
    # 10 channels are handed over twice; 3 lead times of what is scored wait, one is collected, 3 fields are at work.
    needed = len({part for name in make().verify.channels for part in components(name)})
    assert host(forecast__members=5) - host(forecast__members=4) == field * (2 * 10 + 4 * needed + 3)


def test_an_item_that_is_begun_anew_starts_from_nothing(make):
    config = make()
    plan = plan_of(config)
    rng = np.random.default_rng(0)
    shape = (2, len(plan.channels), config.model.height, config.model.width)
    frames = [rng.standard_normal(shape, dtype=np.float32) for _ in range(config.forecast.steps)]
    written = []
    for attempts in (1, 2):
        sink, item = open_scores_sink(plan), plan.items[0]
        for attempt in range(attempts):
            sink.begin(item)
            for lead, frame in enumerate(frames):
                if attempt == attempts - 1:
                    for member in item.numbers:  # one by one, the last one first
                        number = item.numbers[-1 - member]
                        sink.write(item, lead, [number], frame[[number]])
                elif lead < 2:
                    some = 2 - lead  # all members at the first lead time, one at the second
                    sink.write(item, lead, range(some), frame[:some])
        sink.finish(item)
        sink.close()
        written.append(ours(config))
        shutil.rmtree(RunPaths(config.run.folder).scores)
    assert written[0] == written[1]
    assert len(written[0]) == 1


def test_members_in_several_blocks_are_refused(make):
    config = make(forecast__members=4, forecast__members_per_item=2)
    with pytest.raises(UserError, match="members_per_item is 2; leave it out"):
        open_scores_sink(plan_of(config))


def test_a_forecast_that_keeps_nothing_is_refused(make):
    with pytest.raises(ValueError, match="keep_fields false leaves nothing"):
        make(forecast__scores=False, forecast__keep_fields=False)
