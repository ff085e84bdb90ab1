"""Learning rate, KL weight and rollout length: pure functions of the iteration within a stage."""

import math

from fuxi_ens.config import StageConfig


def learning_rate(stage: StageConfig, iteration: int) -> float:
    """Linear warm-up, then a cosine from `learning_rate` to `final_learning_rate` at the last iteration."""
    if iteration < stage.warmup_iterations:
        return stage.learning_rate * (iteration + 1) / stage.warmup_iterations
    span = max(stage.iterations - stage.warmup_iterations - 1, 1)
    progress = min((iteration - stage.warmup_iterations) / span, 1.0)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * cosine


def kl_weight(stage: StageConfig, iteration: int) -> float:
    """Linear from 0 over the warm-up, then constant; or so in every cycle."""
    if stage.kl_schedule == "cyclical":
        cycle = stage.iterations / stage.kl_cycles
        place = iteration % math.ceil(cycle) / cycle
        return stage.kl_weight * min(place / stage.kl_rise, 1.0)
    if stage.kl_warmup_iterations == 0:
        return stage.kl_weight
    return stage.kl_weight * min((iteration + 1) / stage.kl_warmup_iterations, 1.0)


def phases(stage: StageConfig) -> list[tuple[range, int]]:
    """Iterations and the rollout steps they have: one phase, or one for each length of the curriculum."""
    shortest = stage.rollout_start or stage.rollout_steps
    count = stage.rollout_steps - shortest + 1
    starts = [-(-n * stage.iterations // count) for n in range(count + 1)]
    return [(range(starts[n], starts[n + 1]), shortest + n) for n in range(count)]
