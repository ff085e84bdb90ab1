"""The run files that ship: each is legal, honest about its test year, and ready for the chain."""

from pathlib import Path

import numpy as np
import pytest

from fuxi_ens.assets import config_file
from fuxi_ens.channels import CHANNELS_78, HEADLINE, components
from fuxi_ens.config import load_config

FILES = sorted((Path(__file__).parents[1] / "configs").glob("**/*.y*ml"))
ERA5 = [path for path in FILES if path.stem.startswith("era5")]


def name(path):
    return path.stem


def test_there_are_run_files():
    assert {path.stem for path in FILES} >= {"demo", "era5_64x32", "era5_1p5deg", "era5_0p25deg"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_it_parses_and_is_named_as_its_file(path):
    config = load_config(path)
    assert config.run.name == path.stem
    assert config.run.folder == Path("runs") / path.stem


@pytest.mark.parametrize("path", FILES, ids=name)
def test_it_is_at_most_80_lines_and_says_what_it_is_for(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 80
    assert lines[0].startswith("# ")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_fifteen_days_of_the_headline_are_forecast_and_scored(path):
    config = load_config(path)
    assert config.lead_times[-1] == np.timedelta64(15, "D")
    assert set(config.verify.channels) == set(HEADLINE)
    assert {part for n in HEADLINE for part in components(n)} <= set(config.forecast.channels)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_date_of_a_forecast_is_a_date_of_training_or_validation(path):
    config = load_config(path)
    valid = config.forecast.init_times.times[:, None] + config.lead_times
    for period in config.data.train + config.data.validation:
        assert not period.contains(valid.ravel()).any()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_training_and_validation_are_apart(path):
    data = load_config(path).data
    for a in data.train:
        for b in data.validation:
            assert a.end < b.start or b.end < a.start


@pytest.mark.parametrize("path", FILES, ids=name)
def test_stages_are_named_once_and_learning_rates_fall(path):
    stages = load_config(path).train.stages
    assert len({stage.name for stage in stages}) == len(stages)
    for stage in stages:
        assert stage.final_learning_rate < stage.learning_rate
        assert stage.warmup_iterations < stage.iterations
        assert stage.kl_warmup_iterations < stage.iterations


@pytest.mark.parametrize("path", ERA5, ids=name)
def test_era5_is_split_as_the_facts_say(path):
    data = load_config(path).data
    assert [period.start.year for period in data.train + data.validation + data.test] == [1979, 2016, 2018]
    assert [period.end.year for period in data.train + data.validation + data.test] == [2015, 2017, 2018]


def test_the_largest_is_the_release():
    model = load_config(config_file("era5_0p25deg")).model
    assert model.channels == CHANNELS_78
    assert (model.height, model.width, model.patch, model.window) == (721, 1440, 8, 18)
    assert model.token_grid == (90, 180)
    assert (model.embedding, model.heads, model.mlp_hidden) == (1536, 24, 4096)
    assert (model.perturbation_layers, model.forecast_layers, model.blocks_per_layer) == (2, 6, 7)
    assert model.output == "state"


def test_the_largest_states_every_choice_that_differs_from_the_release():
    text = config_file("era5_0p25deg").read_text()
    assert "preset: release" in text
    for key in ("polar_row", "missing_points", "norm_variance", "logvar_bounds"):
        assert f"  {key}: " in text


def test_the_large_ones_trade_time_for_memory():
    middle, large = (load_config(config_file(size)).train for size in ("era5_1p5deg", "era5_0p25deg"))
    assert middle.recompute
    assert large.recompute
    assert large.parallel == "fsdp"
