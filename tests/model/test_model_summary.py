"""What a network costs, against closed arithmetic and against what really stays in memory."""

import weakref

import numpy as np
import pytest
import torch
from model_world import clocks, model_config, physical_frames, random_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fuxi_ens.assets import config_file
from fuxi_ens.config import LeadStageConfig, ModelConfig, StageConfig, TrainConfig, load_config
from fuxi_ens.data.loader import Batch
from fuxi_ens.data.samples import RankPlace
from fuxi_ens.losses.objective import Weights
from fuxi_ens.model import low_rank
from fuxi_ens.model.block import no_dropout
from fuxi_ens.model.blocks import recompute_blocks
from fuxi_ens.model.memory import Placement, forecast_memory, run_memory, training_memory
from fuxi_ens.model.noise import Noise, Stream
from fuxi_ens.model.summary import block_parameters, step_flops, summarize
from fuxi_ens.train.module import TrainingModule
from fuxi_ens.train.parallel import choose_trained
from fuxi_ens.train.ranks import Ranks

ALONE = Ranks(RankPlace(), None, None)
SIZES = {
    "narrow": {"height": 17, "width": 32, "patch": 2, "embedding": 32, "window": 4, "mlp_hidden": 80},
    "coarse": {"height": 32, "width": 64, "patch": 4, "embedding": 128, "window": 4, "mlp_hidden": 256},
    "many_tokens": {"height": 32, "width": 64, "patch": 2, "embedding": 96, "window": 8, "mlp_hidden": 256},
}
DEPTH = {"heads": 4, "perturbation_layers": 1, "forecast_layers": 3}
STAGES = {
    "l1": {"objective": "l1", "batch_size": 2},
    "crps_kl": {"objective": "crps_kl", "batch_size": 1, "members": 4},
    "rollout": {"objective": "crps_kl", "batch_size": 2, "members": 2, "sampled": "both", "rollout_steps": 2},
    "last_step": {"objective": "crps_kl", "members": 3, "rollout_steps": 3, "gradient_steps": 1},
    "prior_alone": {"objective": "crps_kl", "members": 3, "sampled": "prior", "kl_weight": 0.0},
}
LATENTS = {
    "diagonal": {},
    "dropout": {"dropout": 0.2},
    "low_rank": {"latent": "low_rank", "latent_rank": 3},
}


def arithmetic(config):
    """Multiplications and additions of a step of one member, from model.md 2 by hand."""
    rows, columns = config.token_grid
    tokens, width, patch = rows * columns, config.embedding, config.patch**2
    blocks = (config.perturbation_layers + config.forecast_layers) * config.blocks_per_layer
    products = 2 * blocks * tokens * (4 * width**2 + 3 * width * config.mlp_hidden)
    attention = 4 * blocks * tokens * config.window**2 * width
    fields = 2 * len(config.channels)
    embeds = 2 * 2 * tokens * width * patch * (fields + 6)
    head_tokens = -(-config.height // config.patch) * columns
    heads = 2 * head_tokens * width * patch * (2 * fields + fields // 2)
    clock = 2 * 2 * 3 * (256 * width + width**2)
    conditioning = 2 * (blocks * 6 + 2 * 2) * width**2
    return products + attention + embeds + heads + clock + conditioning


@pytest.mark.parametrize("size", SIZES)
def test_operations_are_those_of_the_arithmetic(size):
    config = model_config(**SIZES[size], **DEPTH)
    assert step_flops(config) == arithmetic(config)


def test_patterns_of_a_low_rank_latent_are_counted():
    size = {**SIZES["narrow"], **DEPTH}
    assert step_flops(model_config(**size, latent="low_rank", latent_rank=3)) > step_flops(model_config(**size))


def test_operations_of_the_release_are_those_of_the_facts():
    flops = step_flops(ModelConfig())
    assert flops == arithmetic(ModelConfig())
    assert round(flops / 1e12, 1) == 55.5
    assert round(60 * flops / 1e15, 1) == 3.3


def test_blocks_make_up_the_release():
    counts = summarize(ModelConfig())
    assert block_parameters(ModelConfig()) == 4 * 1536**2 + 3 * 1536 * 4096 + 6 * 1536 * 1537
    assert 0.95 < 56 * block_parameters(ModelConfig()) / counts["inference_parameters"] < 1


class Alive(TorchDispatchMode):
    """Bytes of all tensors alive at the same time, and their peak; what was there before counts if it is named."""

    def __init__(self, model, *inputs):
        super().__init__()
        self.now = self.peak = 0
        self.known = {t.untyped_storage()._cdata: 0 for t in (*model.parameters(), *model.buffers())}
        for tensor in inputs:
            self.meet(tensor)

    def meet(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.part, storage._cdata)

    def part(self, which):
        self.now -= self.known.pop(which)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.meet(leaf)
        return out


@pytest.mark.parametrize("latent", ["diagonal", "low_rank"])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_forecast_memory_is_within_15_percent_of_the_tensors_alive(rng, size, members, latent):
    config = model_config(**SIZES[size], **{**DEPTH, **LATENTS[latent]})
    model, frames = random_model(config, rng), physical_frames(config, members, rng)
    eps = torch.randn(frames.shape, generator=rng)
    xi = torch.randn(members, config.patterns, generator=rng) if config.patterns else None
    with torch.no_grad(), Alive(model, frames, eps) as alive:
        model.step(frames, clocks(members), eps, no_dropout, xi)
    assert forecast_memory(config, members).activations == pytest.approx(alive.peak, rel=0.15)


def batch(config, stage, rng):
    size, steps = stage.batch_size, stage.rollout_steps
    return Batch(
        frames_BTCHW=physical_frames(config, size, rng),
        target_BKCHW=torch.stack([physical_frames(config, size, rng)[:, 0] for _ in range(steps)], dim=1),
        clock_BK3=clocks(size)[:, None].repeat(1, steps, 1),
        init_time=np.zeros(size, "datetime64[ns]"),
    )


def kept_for_the_gradient(model, run):
    """Bytes of distinct tensors, beside the model's own, that autograd holds after the forward pass."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    sizes, held = {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        # Held so that no address is used twice; without its graph, which would hold itself and never be freed.
        held.append(tensor.detach())
        return held[-1]

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(sizes.values())


def kept_in_training(config, stage, placement, rng):
    """Bytes that autograd holds after the forward pass of one batch."""
    model = random_model(config, rng)
    recompute_blocks(model, enabled=placement.recompute)
    choose_trained(model, stage)
    weights = Weights(torch.ones(config.height), torch.ones(9))
    module = TrainingModule(model, stage, weights, ALONE, TrainConfig(stages=(stage,)))
    noise = Noise([Stream([1], torch.device("cpu"))])

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=placement.bfloat16, cache_enabled=not placement.recompute):
            module(batch(config, stage, rng), noise, 1e-3)

    return kept_for_the_gradient(model, run)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("size", "latent"),
    [*((size, "diagonal") for size in SIZES), ("narrow", "low_rank"), ("coarse", "low_rank"), ("coarse", "dropout")],
)
def test_training_memory_is_within_15_percent_of_what_is_kept(rng, size, latent, stage, bfloat16, recompute):
    config, stage = model_config(**SIZES[size], **{**DEPTH, **LATENTS[latent]}), stage_config(**STAGES[stage])
    placement = Placement(bfloat16=bfloat16, recompute=recompute, cpu=True)
    kept = kept_in_training(config, stage, placement, rng)
    assert training_memory(config, stage, placement).activations == pytest.approx(kept, rel=0.15)


def stage_config(**changes):
    return StageConfig(**{"name": "any", "iterations": 60, "learning_rate": 1e-3, "objective": "crps_kl", **changes})


ENSEMBLE = stage_config(members=4)


def test_sharding_divides_states_and_recomputing_saves_activations():
    alone, shared = (training_memory(ModelConfig(), ENSEMBLE, Placement(False, world_size=n)) for n in (1, 8))
    assert shared.weights == alone.weights // 8
    assert alone.weights == 5 * 4 * (2_474_861_958 + 654_261_048)
    assert shared.activations == alone.activations
    recomputed = training_memory(ModelConfig(), ENSEMBLE, Placement(False, recompute=True))
    assert recomputed.activations < 0.3 * alone.activations
    assert recomputed.total < alone.total


def test_networks_that_do_not_learn_need_no_gradients_and_moments():
    size = {"p": 654_261_048, "q": 654_261_048, "forecast": 1_820_600_910}

    def weights(**changes):
        return training_memory(ModelConfig(), stage_config(**changes), Placement()).weights

    assert weights(objective="l1") == 4 * (2 * size["p"] + 2 * size["q"] + 5 * size["forecast"])
    alone = weights(sampled="prior", kl_weight=0.0)
    assert alone == 4 * (5 * size["p"] + 2 * size["q"] + 5 * size["forecast"])


def test_finished_networks_of_a_cascade_are_held_whole():
    placement = Placement(world_size=8)
    own, third = (training_memory(ModelConfig(), ENSEMBLE, placement, lead_networks=n) for n in (0, 2))
    assert third.weights - own.weights == 2 * 4 * 2_474_861_958
    assert third.activations == own.activations


def test_a_run_counts_the_networks_that_lead_to_each_stage():
    run = load_config(config_file("demo"))
    rollout = run.train.stages[-1].model_copy(update={"rollout_steps": 44, "gradient_steps": 4})
    stages = (
        run.train.stages[0],
        rollout.model_copy(update={"name": "b", "lead_stage": "medium"}),
        rollout.model_copy(update={"name": "c", "lead_stage": "long"}),
    )
    cascade = tuple(LeadStageConfig(name=n, until_hours=h) for n, h in (("short", 120), ("medium", 240), ("long", 360)))
    run = run.model_copy(update={"cascade": cascade, "train": run.train.model_copy(update={"stages": stages})})
    found = run_memory(run, Placement())
    assert found["deterministic"] == training_memory(run.model, stages[0], Placement())
    assert found["b"] == training_memory(run.model, stages[1], Placement(), 1)
    assert found["c"] == training_memory(run.model, stages[2], Placement(), 2)


def test_a_lead_in_leaves_nothing_but_must_fit():
    config = model_config(**SIZES["narrow"], **DEPTH)

    def activations(steps, **changes):
        stage = stage_config(rollout_steps=steps, gradient_steps=1, **changes)
        return training_memory(config, stage, Placement(bfloat16=False)).activations

    assert activations(2) == activations(9)
    # A lead-in gives each member its own P and Q.
    assert activations(2) > activations(1)
    shallow = model_config(**SIZES["narrow"], **{**DEPTH, "forecast_layers": 1, "blocks_per_layer": 1})
    stage = stage_config(objective="l1", rollout_steps=3, gradient_steps=1)
    needed = training_memory(shallow, stage, Placement(bfloat16=True, recompute=True)).activations
    assert needed >= forecast_memory(shallow, 1).activations


def test_ranks_of_a_sample_divide_its_members():
    def activations(ranks):
        return training_memory(ModelConfig(), ENSEMBLE, Placement(False, ranks_per_sample=ranks)).activations

    assert 2 * activations(2) == activations(1)
    assert 4 * activations(4) == activations(1)


# One latent channel of the release's patterns is more than a chunk.
@pytest.mark.parametrize(
    ("preset", "elements"), [("1p5deg", low_rank.CHUNK), ("release", 4 * 12 * 721 * 1440)], ids=["1p5deg", "release"]
)
def test_the_kl_of_patterns_is_held_in_chunks_on_large_grids(preset, elements):
    diagonal, patterns = (
        training_memory(ModelConfig(preset=preset, latent=latent), ENSEMBLE, Placement())
        for latent in ("diagonal", "low_rank")
    )
    assert patterns.working - diagonal.working == 6 * 4 * elements
    assert patterns.activations < 1.05 * diagonal.activations


def test_a_placement_is_what_the_run_says():
    def placement(devices, **settings):
        return Placement.configured(TrainConfig(stages=(ENSEMBLE,), **settings), devices)

    assert placement(8) == Placement(bfloat16=True, recompute=False, world_size=1)
    assert placement(8, parallel="fsdp", recompute=True).world_size == 8
    assert placement(8, parallel="fsdp", recompute=True).recompute
    assert placement(8, ranks_per_sample=2).ranks_per_sample == 2
    assert not placement(1, precision="float32").bfloat16


def test_members_and_batch_multiply_activations():
    def activations(**changes):
        stage = stage_config(**{"members": 4, **changes})
        return training_memory(ModelConfig(), stage, Placement(bfloat16=False)).activations

    assert activations(batch_size=2) == 2 * activations()
    # The release draws dropout for every member, so that P and Q run for each.
    assert activations(members=8) == 2 * activations(members=4)
    assert forecast_memory(ModelConfig(), 4).activations == 4 * forecast_memory(ModelConfig(), 1).activations
