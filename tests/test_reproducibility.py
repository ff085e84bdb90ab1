"""The same settings and seed give the same bits; another seed gives others; how a run is cut makes no difference."""

import pytest
import torch
from tiny_run import digest, make_world, new_run

from fuxi_ens.data import samples
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.loop import fit


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("reproducibility"))


def published(world, folder, changes=None):
    """Hashes of model folder, record but for its clocks, and forecast arrays of a whole run."""
    config = new_run(world, folder, changes)
    fit(config)
    run_forecast(config)
    paths = RunPaths(config.run.folder)
    chunks = {name: value for name, value in digest(paths.forecast).items() if not name.endswith("zarr.json")}
    record = [line for line in paths.metrics.read_text().splitlines() if '"kind": "pace"' not in line]
    return digest(paths.model, "*.safetensors"), record, chunks


@pytest.fixture(scope="module")
def first(world, tmp_path_factory):
    return published(world, tmp_path_factory.mktemp("first"))


def test_equal_settings_give_equal_bytes(world, first, tmp_path):
    assert published(world, tmp_path) == first


def test_the_global_random_stream_has_no_say(world, first, tmp_path):
    torch.manual_seed(99)
    torch.randn(10)
    assert published(world, tmp_path) == first


@pytest.mark.parametrize(
    "change", [{"run.seed": 8}, {"train.stages.1.kl_weight": 0.1}, {"train.stages.0.learning_rate": 2e-3}]
)
def test_other_settings_give_other_weights_and_forecasts(world, first, tmp_path, change):
    weights, record, chunks = published(world, tmp_path, change)
    assert weights != first[0]
    assert record != first[1]
    assert chunks != first[2]


@pytest.mark.parametrize(
    "change", [{"train.checkpoint_every": 1}, {"data.in_memory": True}, {"run.name": "other"}, {"forecast.members": 4}]
)
def test_what_does_not_touch_the_weights_gives_the_same_weights(world, first, tmp_path, change):
    assert published(world, tmp_path, change)[:2] == first[:2]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_precision_is_reproducible(world, tmp_path, precision):
    a, b = (published(world, tmp_path / name, {"train.precision": precision}) for name in "ab")
    assert a == b


def test_stages_of_neighboring_seeds_visit_samples_in_unrelated_orders(world, tmp_path, monkeypatch):
    orders = {7: [], 8: []}
    real = samples.batch_positions
    for seed, visited in orders.items():

        def recording(*arguments, visited=visited, **named):
            visited.append(real(*arguments, **named).tolist())
            return real(*arguments, **named)

        monkeypatch.setattr(samples, "batch_positions", recording)
        stages = {"train.stages.0.iterations": 8, "train.stages.1.iterations": 8}
        fit(new_run(world, tmp_path / str(seed), {"run.seed": seed, **stages}))
    second_stage_of_7, first_stage_of_8 = orders[7][8:], orders[8][:8]
    assert second_stage_of_7 != first_stage_of_8
