"""How often the networks run in one iteration on one device: what memory and work of training are counted from.

It follows `train.module`, which runs them: a test counts both.
"""

from dataclasses import dataclass

from fuxi_ens.config import ModelConfig, StageConfig


@dataclass(frozen=True, slots=True)
class Passes:
    """Samples or members that pass a network, by what remains of the pass."""

    perturbation: int
    """Through P or Q, kept for the gradient."""
    forecast: int
    """Through the forecast network, kept for the gradient."""
    free_perturbation: int = 0
    """Through P or Q without gradient: steps that only lead to the scored ones, and a Q that does not learn."""
    free_forecast: int = 0
    first: int = 0
    """Through P and through Q at the first scored step: samples, or members that do not share them."""
    runs: int = 0
    """Times that a network runs with gradient, on however many at once."""


def count_passes(config: ModelConfig, stage: StageConfig, steps: int, ranks_per_sample: int = 1) -> Passes:
    """Of one batch with rollouts of `steps` steps, on one of the `ranks_per_sample` that share its members."""
    scored = min(stage.gradient_steps or steps, steps)
    leading = steps - scored
    if stage.objective == "l1":
        return Passes(0, stage.batch_size * scored, 0, stage.batch_size * leading, runs=scored)
    members = stage.batch_size * members_per_rank(stage, ranks_per_sample)
    first = members if config.dropout or leading else stage.batch_size
    rollouts = 2 if stage.sampled == "both" else 1
    learning = 2 if trains_posterior(stage) else 1
    return Passes(
        perturbation=learning * first + rollouts * members * (scored - 1),
        forecast=rollouts * members * scored,
        free_perturbation=(2 - learning) * first + members * leading,
        free_forecast=members * leading,
        first=first,
        runs=learning + rollouts * (2 * scored - 1),
    )


def members_per_rank(stage: StageConfig, ranks_per_sample: int) -> int:
    """Members of a sample on one rank; 1 where nothing is drawn."""
    return -(-stage.members // ranks_per_sample) if stage.objective == "crps_kl" else 1


def trains_posterior(stage: StageConfig) -> bool:
    """Whether Q learns in this stage: as the source of members, or from a KL that costs."""
    return stage.objective == "crps_kl" and (stage.sampled != "prior" or stage.kl_weight > 0.0)
