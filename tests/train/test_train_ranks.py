"""Several ranks train what one would: the same samples, noise, loss and weights."""

import json

import pytest
import torch
from ranks_world import fit_on_ranks
from tiny_run import new_run

from fuxi_ens.checkpoint import load_checkpoint
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.loop import fit
from fuxi_ens.train.setup import initial_model

CPU = torch.device("cpu")

L1 = {"name": "deterministic", "objective": "l1", "iterations": 2, "learning_rate": 1e-3}
CRPS = {"name": "ensemble", "objective": "crps_kl", "iterations": 3, "learning_rate": 1e-3, "members": 4}
ROLLOUT = CRPS | {"name": "rollout", "rollout_steps": 3, "gradient_steps": 2, "sampled": "prior", "iterations": 2}
MODEL = {"train.ema_decay": 0.5, "model.dropout": 0.1, "model.latent": "low_rank", "model.latent_rank": 3}


def stages(**common):
    return {"train.stages": [{**L1, **common}, {**CRPS, "sampled": "both", **common}, {**ROLLOUT, **common}]} | MODEL


def losses(config):
    lines = map(json.loads, RunPaths(config.run.folder).metrics.read_text().splitlines())
    return torch.tensor([r["loss"] for r in lines if r["kind"] == "train"])


def scores(config):
    lines = map(json.loads, RunPaths(config.run.folder).metrics.read_text().splitlines())
    return [r["score"] for r in lines if r["kind"] == "validation"]


def weights(config):
    return load_checkpoint(RunPaths(config.run.folder).model, posterior=True).model.state_dict()


def assert_same_training(found, expected, tolerance=3e-3):
    """Equal but for the order of sums, which AdamW blows up where a gradient is nearly zero: norms, not elements."""
    torch.testing.assert_close(losses(found), losses(expected), rtol=1e-5, atol=1e-7)
    assert scores(found) == pytest.approx(scores(expected), rel=1e-4)
    mine, theirs = weights(found), weights(expected)
    start = initial_model(
        expected, load_statistics(RunPaths(expected.run.folder).statistics, expected), CPU
    ).state_dict()
    trained = [name for name in theirs if not torch.equal(theirs[name], start[name])]
    assert len(trained) > 100
    apart = sum((mine[name] - theirs[name]).square().sum() for name in theirs).sqrt()
    moved = sum((theirs[name] - start[name]).square().sum() for name in theirs).sqrt()
    assert apart < tolerance * moved


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory):
    """One process with the global batch of all others here: two init times, four members."""
    config = new_run(world, tmp_path_factory.mktemp("alone"), stages(batch_size=2))
    fit(config)
    return config


def test_accumulated_gradients_are_those_of_the_larger_batch(world, alone, tmp_path):
    config = new_run(world, tmp_path, stages(batch_size=1, accumulate=2))
    fit(config)
    assert_same_training(config, alone)


WAYS = {
    "ddp": {"train.parallel": "ddp"} | stages(batch_size=1),
    "fsdp": {"train.parallel": "fsdp"} | stages(batch_size=1),
    "fsdp_recomputing": {"train.parallel": "fsdp", "train.recompute": True} | stages(batch_size=1),
    "fsdp_compiled": {"train.parallel": "fsdp", "train.compile": True} | stages(batch_size=1),
    "members_local": {"train.ranks_per_sample": 2} | stages(batch_size=2),
    "members_all": {"train.ranks_per_sample": 2, "train.gather_gradients": "all"} | stages(batch_size=2),
    "members_sharded": {"train.ranks_per_sample": 2, "train.parallel": "fsdp"} | stages(batch_size=2),
}


@pytest.fixture(scope="module")
def together(world, tmp_path_factory):
    """The same training on two ranks, in every way there is."""
    folder = tmp_path_factory.mktemp("together")
    configs = {way: new_run(world, folder / way, changes) for way, changes in WAYS.items()}
    fit_on_ranks(2, configs.values())
    return configs


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_train_what_one_would(together, alone, way):
    assert_same_training(together[way], alone)


@pytest.mark.slow
def test_recomputing_changes_no_bit(together):
    mine, theirs = weights(together["fsdp_recomputing"]), weights(together["fsdp"])
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
