"""Named networks: a name stands for its values and nothing else, and what a run file or the manual says it costs."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from fuxi_ens.assets import config_file
from fuxi_ens.config import Config, ModelConfig, load_config
from fuxi_ens.config.presets import PRESETS, TRAINED_BY
from fuxi_ens.convert.shapes import RELEASE
from fuxi_ens.errors import ConfigError
from fuxi_ens.model.memory import Placement, run_memory
from fuxi_ens.model.summary import step_flops, summarize
from pipelines.__main__ import app

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").glob("*.yaml"))
POWERS = {"million": 1e6, "billion": 1e9, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "GB": 1e9}
COST = re.compile(
    r"^# Cost: (\S+) (million|billion) parameters, (\S+) ([GTP]FLOP) per step, (\S+) ([GTP]FLOP) per 15-day member; "
    r"training at most (\S+) (GB)\.$",
    re.MULTILINE,
)
LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
SURFACE = ["t2m", "sst", "u10m", "v10m", "msl", "tp"]
WEATHERBENCH = [f"{short}{level}" for short in "ztuvq" for level in LEVELS] + SURFACE
DEMO = ["z500", "z850", "t500", "t850", "u500", "u850", "v500", "v850", "q500", "q850"] + SURFACE
KEYS = (
    *("height", "width", "patch", "embedding", "heads", "window", "mlp_hidden"),
    *("perturbation_layers", "forecast_layers", "blocks_per_layer", "dropout", "output"),
)
WRITTEN_OUT = {
    "release": {
        "channels": "fuxi_ens_78",
        **dict(zip(KEYS, (721, 1440, 8, 1536, 24, 18, 4096, 2, 6, 7, 0.2, "state"), strict=True)),
        "polar_row": "release",
        "missing_points": "prediction",
        "norm_variance": "sample",
        "logvar_bounds": None,
    },
    "1p5deg": {
        "channels": WEATHERBENCH,
        **dict(zip(KEYS, (121, 240, 2, 768, 12, 10, 2048, 2, 6, 3, 0.0, "increment"), strict=True)),
    },
    "64x32": {
        "channels": WEATHERBENCH,
        **dict(zip(KEYS, (32, 64, 2, 384, 6, 8, 1024, 1, 3, 4, 0.0, "increment"), strict=True)),
    },
    "tiny": {
        "channels": DEMO,
        **dict(zip(KEYS, (32, 64, 4, 128, 4, 4, 256, 1, 3, 2, 0.0, "increment"), strict=True)),
    },
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_header_states_the_cost(path):
    run = load_config(path)
    stated = COST.search(path.read_text())
    assert stated, "no line `# Cost: ...`"
    numbers = [float(n.replace(",", "")) * POWERS[unit] for n, unit in zip(*[iter(stated.groups())] * 2, strict=True)]
    flops = step_flops(run.model)
    training = max(memory.total for memory in run_memory(run, Placement.configured(run.train, 1)).values())
    found = [summarize(run.model)["inference_parameters"], flops, flops * run.forecast.steps, training]
    assert numbers == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_what_it_says_written_out(preset):
    named, written = ModelConfig(preset=preset), ModelConfig(**WRITTEN_OUT[preset])
    assert named == written
    assert hash(named) == hash(written)
    assert repr(named) == repr(written)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_trace_of_a_preset_is_stored(preset):
    named = ModelConfig(preset=preset)
    assert named.model_dump_json() == ModelConfig(**WRITTEN_OUT[preset]).model_dump_json()
    assert "preset" not in named.model_dump()
    assert ModelConfig.model_validate_json(named.model_dump_json()) == named


def test_keys_beside_a_preset_win():
    changed = ModelConfig(preset="tiny", embedding=64, dropout=0.1)
    assert changed == ModelConfig(**{**WRITTEN_OUT["tiny"], "embedding": 64, "dropout": 0.1})


def test_no_preset_is_the_defaults():
    assert ModelConfig(preset=None) == ModelConfig()


def test_keys_beside_a_preset_are_checked_with_it():
    with pytest.raises(ValidationError, match="windows of 5 do not tile"):
        ModelConfig(preset="tiny", window=5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("relaese", "model: unknown preset 'relaese'; did you mean 'release'?"),
        ("huge", "model: unknown preset 'huge'; known presets: release, 1p5deg, 64x32, tiny"),
        (64, "model: unknown preset 64"),
        (["tiny"], "model: unknown preset ['tiny']"),
    ],
)
def test_an_unknown_preset_is_named_with_its_remedy(tmp_path, value, message):
    with pytest.raises(ConfigError) as caught:
        load_config(changed_run_file(tmp_path, {"preset": value}))
    assert message in str(caught.value)


def test_a_misspelled_preset_key_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.presets: unknown key; did you mean 'preset'\?"):
        load_config(changed_run_file(tmp_path, {"presets": "tiny"}))


def test_a_preset_and_its_keys_can_be_given_on_the_command_line():
    model = load_config(config_file("era5_64x32"), ["model.preset=1p5deg", "model.dropout=0.1"]).model
    assert model == ModelConfig(preset="1p5deg", dropout=0.1)


def changed_run_file(folder, model):
    values = yaml.safe_load(config_file("demo").read_text())
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**values, "model": model}))
    return path


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_file_trains_each_preset(preset):
    model = load_config(config_file(TRAINED_BY[preset])).model
    size = {"channels", *KEYS}
    assert model.model_dump(include=size) == ModelConfig(preset=preset).model_dump(include=size)


def test_the_release_preset_is_the_release_in_every_setting():
    section = load_config(config_file("release")).model
    assert section == ModelConfig(preset="release")
    assert {key: getattr(section, key) for key in RELEASE} == RELEASE
    assert summarize(section)["inference_parameters"] == 2_474_861_958


def test_our_network_of_that_size_differs_in_what_it_names():
    ours, release = load_config(config_file("era5_0p25deg")).model, ModelConfig(preset="release")
    different = {key for key, value in ours.model_dump().items() if value != getattr(release, key)}
    assert different == {"polar_row", "missing_points", "norm_variance", "logvar_bounds"}
    # What training in bfloat16 and maps without artifacts need is the default.
    assert ours == ModelConfig()


def costs(*options):
    done = CliRunner().invoke(app, ["model", "presets", *options], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def test_the_costs_follow_from_the_run_file_and_the_rates():
    usual = json.loads(costs("--json"))
    fast = json.loads(costs("--json", "--tflops", "250", "--float32-tflops", "80"))
    assert list(usual) == list(PRESETS)
    for name, cost in usual.items():
        model = load_config(config_file(TRAINED_BY[name])).model
        assert cost["model"] == {"height": model.height, "width": model.width, "channels": len(model.channels)}
        assert cost["parameters"] == summarize(model)["inference_parameters"]
        # 50 members, 60 steps, 8 TFLOP/s.
        assert cost["ensemble_minutes"] == pytest.approx(50 * 60 * cost["step_flops"] / 8e12 / 60)
        assert fast[name]["ensemble_minutes"] == pytest.approx(cost["ensemble_minutes"] / 10)
        assert fast[name]["training_hours"] == pytest.approx(cost["training_hours"] / 2)
        memory = cost["training_bytes"]
        assert memory["1"] > memory["8"] > memory["64"]


def rows(text, border):
    """Cells of the lines of a table."""
    lines = [line for line in text.splitlines() if line.startswith(border)]
    return [[cell.strip() for cell in line.strip(border).split(border)] for line in lines]


def test_the_manual_has_the_table_that_the_command_prints():
    manual = (ROOT / "docs" / "model.md").read_text()
    section = manual[manual.index("### 3.4") : manual.index("## 4 ")]
    head, rule, *body = rows(section, "|")
    assert set("".join(rule)) == {"-"}
    printed = costs()
    assert rows(printed, "┃") == [[cell.strip("`") for cell in head]]
    assert rows(printed, "│") == body


def test_the_manual_of_training_has_rows_of_that_table():
    manual = (ROOT / "docs" / "training.md").read_text()
    copied = [row for row in rows(manual, "|") if row[0].startswith("training,")]
    assert len(copied) == 4
    assert [row for row in rows(costs(), "│") if row[0].startswith("training,")] == copied


def test_the_cascade_of_the_manual_is_legal():
    manual = (ROOT / "docs" / "model.md").read_text()
    example = yaml.safe_load(re.search(r"### 3\.5 .*?```yaml\n(.*?)```", manual, re.DOTALL)[1])
    run = yaml.safe_load(config_file("era5_1p5deg").read_text())
    config = Config.model_validate(
        {**run, "cascade": example["cascade"], "train": {**run["train"], **example["train"]}}
    )
    assert [part.name for part in config.cascade] == ["short", "long"]
