"""A cascade by lead time: which network makes which step, what the folder must hold, what a forecast says of it."""

import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from makers import set_value
from tiny_run import new_run, randomize

from fuxi_ens.checkpoint import (
    CARD,
    CASCADE,
    DESCRIPTION,
    WEIGHTS,
    Checkpoint,
    LeadModels,
    LeadStage,
    is_complete,
    load_checkpoint,
    load_models,
    save_checkpoint,
    write_cascade,
)
from fuxi_ens.config import LeadStageConfig
from fuxi_ens.data.era5 import open_analysis
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.forecast.draws import Draws, member_stream
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.forecast.guard import Guard
from fuxi_ens.forecast.rollout import EnsembleSettings, rollout
from fuxi_ens.model.noise import Noise
from fuxi_ens.paths import RunPaths
from fuxi_ens.times import clock, hours
from fuxi_ens.train.setup import initial_model

CPU = torch.device("cpu")
STEP = np.timedelta64(6, "h")
INIT_TIME = np.datetime64("2018-01-02T00", "ns")
TABLE = [{"name": "short", "until_hours": 12}, {"name": "long", "until_hours": 24}]
CASCADE_STAGES = (LeadStageConfig(name="short", until_hours=12), LeadStageConfig(name="long", until_hours=24))
SECOND_STAGE = {"lead_stage": "long", "rollout_steps": 3, "gradient_steps": 1}
CHANGES = {
    "model.output": "increment",
    "cascade": TABLE,
    **{f"train.stages.1.{key}": value for key, value in SECOND_STAGE.items()},
}


@pytest.fixture(scope="module")
def networks(world, tmp_path_factory):
    """Folders of two networks with different weights."""
    config = new_run(world, tmp_path_factory.mktemp("networks"), CHANGES)
    statistics = load_statistics(RunPaths(config.run.folder).statistics, config)
    for seed, part in enumerate(CASCADE_STAGES):
        model = randomize(initial_model(config, statistics, CPU), seed)
        save_checkpoint(config.run.folder / part.name, model, 6, {"config_hash": "abc"})
    return config.run.folder


@pytest.fixture
def run(world, networks, tmp_path):
    """Make a run folder that holds the finished cascade; settings may be changed."""

    def make(name="run", **changes):
        config = new_run(world, tmp_path / name, {**CHANGES, **changes})
        folder = RunPaths(config.run.folder).model
        if not folder.exists():
            for part in CASCADE_STAGES:
                shutil.copytree(networks / part.name, folder / part.name)
            write_cascade(folder, CASCADE_STAGES)
        return config

    return make


@pytest.fixture
def folder(run):
    return RunPaths(run().run.folder).model


def single(world, networks, tmp_path, name):
    """A run without cascade whose model is one of the networks."""
    config = new_run(world, tmp_path / f"only_{name}", {"model.output": "increment"})
    shutil.copytree(networks / name, RunPaths(config.run.folder).model)
    return config


def history(config, init_time=INIT_TIME):
    analysis = open_analysis(config.data.store, config.model.channels, config.model.grid, config.data.step_size)
    return analysis.read(np.array([init_time - STEP, init_time]))


def stored(config):
    with xr.open_zarr(RunPaths(config.run.folder).forecast, chunks=None, decode_timedelta=True) as dataset:
        return dataset.load()


def bits(dataset):
    return {name: array.values.tobytes() for name, array in dataset.data_vars.items()}


def same(a, b):
    return np.array_equal(a.view(np.int32), np.ascontiguousarray(b).view(np.int32))


@pytest.mark.parametrize("members_per_batch", [1, 2])
def test_each_step_is_made_by_the_network_of_its_lead_time_from_the_state_it_finds(run, folder, members_per_batch):
    frames = history(run())
    settings = EnsembleSettings(Draws("random", 7, 3), False, 4, members_per_batch, STEP, "float32")
    models = load_models(folder)
    guard = Guard(models.channels, models.first.model.config.grid, None, proceed=False)
    ens = [frame for _, frame in rollout(models, frames, INIT_TIME, settings, guard)]
    by_step = [load_checkpoint(folder / name).model for name in ("short", "short", "long", "long")]
    for first in range(0, 3, members_per_batch):
        numbers = range(first, first + members_per_batch)
        state = torch.from_numpy(frames).expand(members_per_batch, *frames.shape)
        for step, model in enumerate(by_step):
            noise = Noise([member_stream(7, INIT_TIME, number, step, CPU) for number in numbers])
            # The clock's step does not start again at the switch.
            now = torch.from_numpy(clock(np.repeat(INIT_TIME + step * STEP, members_per_batch), step))
            assert now[0, 0] == step
            with torch.no_grad():
                state = model.step(state, now, noise.normal(state.shape), lambda x: x)
            for row, number in enumerate(numbers):
                if number < 3:
                    assert same(ens[step][number], state[row, 1].numpy()), (step, number)


def test_the_forecast_equals_the_first_network_alone_until_the_switch_and_leaves_it_there(
    run, world, networks, tmp_path
):
    cascade, alone = run(), single(world, networks, tmp_path, "short")
    run_forecast(cascade)
    run_forecast(alone)
    before, after = slice(0, 2), slice(2, 4)
    got, expected = stored(cascade), stored(alone)
    assert bits(got.isel(prediction_timedelta=before)) == bits(expected.isel(prediction_timedelta=before))
    for name in got.data_vars:
        a, b = (np.nan_to_num(x[name].isel(prediction_timedelta=after).values) for x in (got, expected))
        assert (a != b).any(), name


def test_every_init_time_starts_with_the_first_network(run):
    both = run("both")
    one = run("one", **{"forecast.init_times.start": "2018-01-02T12:00"})
    run_forecast(both)
    run_forecast(one)
    assert bits(stored(one)) == bits(stored(both).isel(time=slice(1, 2)))


def test_a_cascade_of_one_network_is_the_network(run, world, networks, tmp_path):
    alone = single(world, networks, tmp_path, "short")
    cascade = new_run(world, tmp_path / "one_stage", {"model.output": "increment", "cascade": [{**TABLE[1]}]})
    shutil.copytree(networks / "short", RunPaths(cascade.run.folder).model / "long")
    write_cascade(RunPaths(cascade.run.folder).model, CASCADE_STAGES[1:])
    run_forecast(alone)
    run_forecast(cascade)
    assert bits(stored(cascade)) == bits(stored(alone))


def test_only_the_serving_network_is_on_the_device(folder, monkeypatch):
    stages = load_models(folder).stages
    names = {id(stage.checkpoint.model): stage.name for stage in stages}
    places, log = dict.fromkeys(names, torch.device("cpu")), []

    def moved(model, device):
        places[id(model)] = device
        log.append((names[id(model)], str(device)))

    network = type(stages[0].checkpoint.model)
    monkeypatch.setattr(network, "to", moved)
    monkeypatch.setattr(network, "parameters", lambda model: iter([SimpleNamespace(device=places[id(model)])]))
    models = LeadModels(stages, torch.device("cuda"))
    # Room is made first; who is in place stays there.
    moves = {6: [("short", "cuda")], 12: [], 18: [("short", "cpu"), ("long", "cuda")], 24: []}
    for lead, expected in moves.items():
        log.clear()
        assert names[id(models.at(hours(lead)))] == ("short" if lead <= 12 else "long")
        assert log == expected


def test_a_lead_time_beyond_the_last_stage_is_refused(folder):
    models = load_models(folder)
    models.at(hours(24))
    with pytest.raises(UserError, match=r"no forecast stage makes lead time 30 hours: .* long, ends at 24 h; lower"):
        models.at(hours(30))


def test_one_network_makes_every_lead_time(folder):
    models = load_models(folder / "short")
    assert models.at(hours(6)) is models.at(hours(10_000))
    assert models.table == ()


class TestIdentity:
    def test_the_store_names_the_weights_of_all_stages(self, run):
        config = run()
        run_forecast(config)
        folder, attributes = RunPaths(config.run.folder).model, stored(config).attrs
        of = {name: hashlib.sha256((folder / name / WEIGHTS).read_bytes()).hexdigest() for name in ("short", "long")}
        assert attributes["cascade"] == f"short to 12 h: {of['short']}, long to 24 h: {of['long']}"
        expected = hashlib.sha256(f"12 {of['short']}\n24 {of['long']}\n".encode()).hexdigest()
        assert attributes["weights_hash"] == expected
        assert attributes["training_hash"] == "abc"

    def test_the_store_of_one_network_names_its_weights(self, world, networks, tmp_path):
        config = single(world, networks, tmp_path, "long")
        run_forecast(config)
        attributes = stored(config).attrs
        assert attributes["weights_hash"] == hashlib.sha256((networks / "long" / WEIGHTS).read_bytes()).hexdigest()
        assert "cascade" not in attributes

    @pytest.mark.parametrize("name", ["short", "long"])
    def test_a_forecast_with_other_weights_in_one_stage_is_not_continued(self, run, name):
        config = run()
        run_forecast(config)
        folder = RunPaths(config.run.folder).model
        checkpoint = load_checkpoint(folder / name)
        save_checkpoint(folder / name, randomize(checkpoint.model, seed=9), 6, checkpoint.provenance)
        write_cascade(folder, CASCADE_STAGES)
        with pytest.raises(UserError, match="holds another forecast"):
            run_forecast(config)

    def test_the_hash_depends_on_weights_order_and_lead_times(self):
        def hashed(*stages):
            made = (LeadStage(name, until, Checkpoint(None, 6, {}, weights)) for name, until, weights in stages)
            return LeadModels(tuple(made), CPU).weights_hash

        one = hashed(("a", 12, "x"), ("b", 24, "y"))
        others = [
            hashed(("a", 12, "y"), ("b", 24, "x")),
            hashed(("a", 18, "x"), ("b", 24, "y")),
            hashed(("a", 12, "x")),
            hashed(("", None, "x")),
        ]
        assert len({one, *others}) == 5
        assert hashed(("", None, "x")) == "x"
        assert hashed(("c", 12, "x"), ("d", 24, "y")) == one


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            (
                {"cascade": [], "train.stages.1.lead_stage": ""},
                r"has the cascade short to 12 h, long to 24 h, the config has no cascade; use the config it",
            ),
            ({"cascade.0.until_hours": 6}, r"short to 12 h, long to 24 h, the config has the cascade short to 6 h, "),
            ({"cascade.0.name": "early"}, r"the config has the cascade early to 12 h, long to 24 h; use the config"),
        ],
    )
    def test_another_cascade_than_the_models_is_refused(self, run, changes, match):
        config = run()
        values = config.model_dump(mode="json")
        for key, value in changes.items():
            set_value(values, key, value)
        with pytest.raises(UserError, match=match):
            run_forecast(type(config).model_validate(values))

    def test_a_cascade_in_the_config_needs_one_in_the_model(self, run, networks):
        config = run()
        folder = RunPaths(config.run.folder).model
        shutil.rmtree(folder)
        shutil.copytree(networks / "short", folder)
        with pytest.raises(UserError, match=r"has no cascade, the config has the cascade short to 12 h, long to 24 h"):
            run_forecast(config)

    def test_a_stage_of_another_model_section_is_named(self, run):
        config = run()
        folder = RunPaths(config.run.folder).model
        model = load_checkpoint(folder / "long").model
        model.config = model.config.model_copy(update={"forecast_dropout": False})
        save_checkpoint(folder / "long", model, 6, {})
        write_cascade(folder, CASCADE_STAGES)
        with pytest.raises(UserError, match=r"model/long was trained with another model section"):
            run_forecast(config)


def edit_table(folder, edit):
    values = json.loads((folder / CASCADE).read_text())
    edit(values)
    (folder / CASCADE).write_text(json.dumps(values))


def resave(folder, step_size_hours=6, **config):
    """Write a network again, declared to have another shape or step."""
    model = load_checkpoint(folder).model
    model.config = model.config.model_copy(update=config)
    save_checkpoint(folder, model, step_size_hours, {})


class TestFolder:
    def test_the_table_says_which_network_serves_when(self, folder):
        table = json.loads((folder / CASCADE).read_text())
        assert table["schema_version"] == 1
        assert [(s["name"], s["until_hours"]) for s in table["stages"]] == [("short", 12), ("long", 24)]
        for stage in table["stages"]:
            content = (folder / stage["name"] / WEIGHTS).read_bytes()
            assert stage["weights_hash"] == hashlib.sha256(content).hexdigest()

    def test_writing_twice_gives_the_same_bytes(self, folder):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        write_cascade(folder, CASCADE_STAGES)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_cards_say_the_lead_times(self, folder, networks):
        assert "for lead times 6 to 12 h" in (folder / "short" / CARD).read_text()
        assert "for lead times 18 to 24 h" in (folder / "long" / CARD).read_text()
        assert "- `long`: up to 24 h" in (folder / CARD).read_text()
        alone, staged = ((place / "long" / CARD).read_text() for place in (networks, folder))
        assert alone == staged.replace("The network of a cascade for lead times 18 to 24 h. ", "")

    def test_a_folder_is_complete_when_the_table_and_all_networks_are_there(self, run, networks, tmp_path):
        folder = RunPaths(run().run.folder).model
        assert is_complete(networks / "short")
        assert not is_complete(tmp_path / "nowhere")
        assert is_complete(folder)
        table = (folder / CASCADE).read_bytes()
        (folder / CASCADE).unlink()
        assert not is_complete(folder)
        (folder / CASCADE).write_bytes(table)
        (folder / "long" / DESCRIPTION).unlink()
        assert not is_complete(folder)

    def test_networks_without_a_table_are_an_unfinished_model(self, folder):
        (folder / CASCADE).unlink()
        with pytest.raises(StoreError, match=r"no finished model in .*model .*run `fuxi-ens train`"):
            load_models(folder)

    @pytest.mark.parametrize("file", [DESCRIPTION, WEIGHTS])
    @pytest.mark.parametrize("name", ["short", "long"])
    def test_a_missing_network_is_named(self, folder, name, file):
        (folder / name / file).unlink()
        with pytest.raises(StoreError, match=rf"no finished model in .*model/{name} "):
            load_models(folder)

    @pytest.mark.parametrize("name", ["short", "long"])
    def test_one_flipped_bit_of_a_network_is_named(self, folder, name):
        content = bytearray((folder / name / WEIGHTS).read_bytes())
        content[-1] ^= 0x01
        (folder / name / WEIGHTS).write_bytes(content)
        with pytest.raises(StoreError, match=rf"model/{name}/{WEIGHTS} is damaged"):
            load_models(folder)

    def test_a_network_of_another_training_is_named(self, folder):
        save_checkpoint(folder / "long", randomize(load_checkpoint(folder / "long").model, seed=5), 6, {})
        with pytest.raises(
            StoreError, match=r"stage in .*model/long is not the one that cascade\.json names; put back"
        ):
            load_models(folder)

    def test_a_table_beside_a_network_is_refused(self, folder):
        for file in (DESCRIPTION, WEIGHTS):
            shutil.copy(folder / "short" / file, folder / file)
        with pytest.raises(StoreError, match=r"holds two models, .* move one"):
            load_models(folder)

    @pytest.mark.parametrize("act", [load_models, is_complete])
    def test_a_truncated_table_is_damage(self, folder, act):
        content = (folder / CASCADE).read_bytes()
        (folder / CASCADE).write_bytes(content[: len(content) // 2])
        with pytest.raises(StoreError, match=r"cascade\.json is damaged or of another version; delete it"):
            act(folder)

    @pytest.mark.parametrize(
        ("edit", "match"),
        [
            (lambda table: table.update(schema_version=99), r"of another version; .*\nschema_version\n.*should be 1"),
            (lambda table: table.update(stages=[]), r"damaged"),
            (lambda table: table["stages"][0].update(name="../elsewhere"), r"damaged"),
            (lambda table: table["stages"][0].update(until_hours=24), r"is no cascade: .*\[24, 24\] must increase"),
            (lambda table: table["stages"][0].update(until_hours=13), r"must increase in multiples of 6 h"),
            (lambda table: table["stages"][0].update(name="long"), r"is no cascade: .*name twice"),
        ],
    )
    def test_a_table_that_says_nothing_sensible_is_refused(self, folder, edit, match):
        edit_table(folder, edit)
        with pytest.raises(StoreError, match=match):
            load_models(folder)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"step_size_hours": 12}, r"'long' in .* cannot take over from 'short': step_size_hours is 12, expected 6"),
            ({"channels": ("z500",)}, r"cannot take over .*: channels is \('z500',\), expected \('z500', "),
            ({"height": 16}, r"cannot take over .*: grid is LatLonGrid\(height=16, .*train all stages with one"),
        ],
    )
    def test_networks_that_cannot_follow_each_other_are_refused(self, folder, change, match):
        resave(folder / "long", **change)
        with pytest.raises(StoreError, match=match):
            write_cascade(folder, CASCADE_STAGES)
        with pytest.raises(StoreError, match=match):
            load_models(folder)

    def test_a_table_is_not_written_before_all_networks_are(self, networks, tmp_path):
        shutil.copytree(networks / "short", tmp_path / "short")
        with pytest.raises(StoreError, match=r"no finished model in .*/long "):
            write_cascade(tmp_path, CASCADE_STAGES)
        assert not (tmp_path / CASCADE).exists()
