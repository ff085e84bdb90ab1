"""Rules of a cascade of forecast stages by lead time: which training stage serves which of them, and where."""

from collections.abc import Sequence
from itertools import pairwise

from fuxi_ens.config.train import LeadStageConfig, StageConfig


def check_cascade(
    cascade: tuple[LeadStageConfig, ...], stages: tuple[StageConfig, ...], step_size_hours: int, steps: int
) -> None:
    """Raise ValueError unless the training stages make every forecast stage, in order, at its own lead times."""
    if not cascade:
        named = [stage.name for stage in stages if stage.lead_stage]
        if named:
            raise ValueError(f"train.stages {named} name a lead_stage, but there is no cascade; add it or drop them")
        return
    check_table(cascade, step_size_hours)
    end, needed = cascade[-1].until_hours, steps * step_size_hours
    if end < needed:
        raise ValueError(
            f"the cascade ends at {end} h, forecast.steps {steps} at {needed} h; raise the last until_hours to {needed}"
        )
    names = [part.name for part in cascade]
    served = []
    for stage in stages:
        name = stage.lead_stage or names[0]
        if name not in names:
            raise ValueError(f"stage {stage.name!r}: lead_stage {name!r} is not in cascade {names}; name one of them")
        served.append(names.index(name))
        _check_lead_times(stage, cascade, served[-1], step_size_hours)
    if served != sorted(served) or set(served) != set(range(len(cascade))):
        raise ValueError(
            f"train.stages train the forecast stages {[names[i] for i in served]}, expected each of {names} in this "
            "order; sort train.stages or set their lead_stage"
        )


def check_table(cascade: Sequence[LeadStageConfig], step_size_hours: int) -> None:
    """Raise ValueError unless names differ and last lead times grow, step by step of the model."""
    names, ends = [part.name for part in cascade], [part.until_hours for part in cascade]
    if len(set(names)) < len(names):
        raise ValueError(f"cascade has a name twice: {names}; rename one, each stage has a folder of its own")
    if any(a >= b for a, b in pairwise(ends)) or any(end % step_size_hours for end in ends):
        raise ValueError(
            f"cascade.until_hours {ends} must increase in multiples of {step_size_hours} h; sort or round them"
        )


def _check_lead_times(
    stage: StageConfig, cascade: tuple[LeadStageConfig, ...], number: int, step_size_hours: int
) -> None:
    """What a stage scores must not come from a forecast stage before its own; beyond its own end it may train."""
    if number == 0:
        return
    start = cascade[number - 1].until_hours // step_size_hours
    shortest = stage.rollout_start or stage.rollout_steps
    first = shortest - (stage.gradient_steps or stage.rollout_steps) + 1
    if first <= start:
        raise ValueError(
            f"stage {stage.name!r} trains {cascade[number].name!r}, which starts after step {start}, but scores "
            f"rollouts from step {first} on; set gradient_steps, and rollout_steps (rollout_start, if set) to at least "
            f"{start} + gradient_steps"
        )
