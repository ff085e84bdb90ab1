"""Operations and hours of a training, against operations that torch counts in a real one."""

import pytest
import torch
from model_world import model_config, random_model
from test_model_summary import ALONE, DEPTH, SIZES, STAGES, batch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from fuxi_ens.assets import config_file
from fuxi_ens.config import ModelConfig, StageConfig, TrainConfig, load_config
from fuxi_ens.losses.objective import Weights
from fuxi_ens.model.blocks import recompute_blocks
from fuxi_ens.model.cost import Rates, ensemble_minutes, iteration_flops, training_hours
from fuxi_ens.model.noise import Noise, Stream
from fuxi_ens.model.passes import count_passes
from fuxi_ens.model.summary import step_flops
from fuxi_ens.train.module import TrainingModule
from fuxi_ens.train.parallel import choose_trained

aten = torch.ops.aten
ATTENTION_ON_A_CPU = {
    aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, out_shape, **__: sdpa_flop_count(q, k, v),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, q, k, v, *_, out_shape, **__: (
        sdpa_backward_flop_count(grad, q, k, v)
    ),
}


def stage_config(**changes):
    return StageConfig(**{"name": "any", "iterations": 60, "learning_rate": 1e-3, "objective": "crps_kl", **changes})


def counted(config, stage, train, rng):
    """Operations of forward and backward of one batch, as torch counts them."""
    model = random_model(config, rng)
    recompute_blocks(model, enabled=train.recompute)
    choose_trained(model, stage)
    module = TrainingModule(model, stage, Weights(torch.ones(config.height), torch.ones(9)), ALONE, train)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_A_CPU) as counter:
        module(batch(config, stage, rng), Noise([Stream([1], torch.device("cpu"))]), 1e-3).total.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("stage", STAGES)
def test_operations_of_a_training_are_those_that_torch_counts(rng, stage, dropout, recompute):
    config, stage = model_config(**SIZES["coarse"], **{**DEPTH, "dropout": dropout}), stage_config(**STAGES[stage])
    train = TrainConfig(stages=(stage,), recompute=recompute)
    assert iteration_flops(config, stage, train) == pytest.approx(counted(config, stage, train, rng), rel=0.03)


def flops(**changes):
    stage = stage_config(**changes)
    return iteration_flops(ModelConfig(preset="tiny"), stage, TrainConfig(stages=(stage,)))


def test_a_curriculum_costs_the_mean_of_its_rollouts():
    lengths = [flops(rollout_steps=steps) for steps in (2, 3, 4)]
    assert flops(rollout_steps=4, rollout_start=2) == pytest.approx(sum(lengths) / 3)


def test_batches_and_accumulation_multiply():
    assert flops(batch_size=3) == pytest.approx(3 * flops())
    assert flops(accumulate=5) == pytest.approx(5 * flops())


def test_a_lead_in_costs_its_steps_forward():
    config = ModelConfig(preset="tiny")
    longer = [flops(rollout_steps=steps, gradient_steps=1, members=3) for steps in (2, 3)]
    assert longer[1] - longer[0] == 3 * step_flops(config)


def test_ranks_of_a_sample_divide_its_members_and_repeat_its_shared_passes():
    shared, own = ModelConfig(preset="tiny"), ModelConfig(preset="tiny", dropout=0.1)
    stage = stage_config(members=4)
    assert (count_passes(shared, stage, 1).forecast, count_passes(shared, stage, 1, 2).forecast) == (4, 2)
    assert count_passes(shared, stage, 1).perturbation == count_passes(shared, stage, 1, 2).perturbation == 2
    assert (count_passes(own, stage, 1).perturbation, count_passes(own, stage, 1, 2).perturbation) == (8, 4)


def test_hours_are_operations_over_the_rate_of_the_precision():
    run = load_config(config_file("era5_64x32"))
    hours = training_hours(run, Rates(bfloat16=100.0, float32=10.0))
    for stage in run.train.stages:
        expected = stage.iterations * iteration_flops(run.model, stage, run.train) / 100e12 / 3600
        assert hours[stage.name] == pytest.approx(expected)
    slow = load_config(config_file("era5_64x32"), ["train.precision=float32"])
    assert sum(training_hours(slow, Rates(100.0, 10.0)).values()) == pytest.approx(10 * sum(hours.values()))


def test_the_released_ensemble_takes_the_hours_of_the_facts():
    # 3.33 PFLOP per member of 15 days.
    assert ensemble_minutes(ModelConfig(), 1, 60, Rates(float32=1000.0)) == pytest.approx(3.33 / 60, rel=0.01)
