"""Rules of a cascade of forecast stages by lead time: which training stage serves which of them, and where."""

from itertools import pairwise

from fuxi_ens.config.sections import LeadStageConfig, StageConfig


def check_cascade(
    cascade: tuple[LeadStageConfig, ...], stages: tuple[StageConfig, ...], step_size_hours: int, steps: int
) -> None:
    """Raise ValueError unless the training stages make every forecast stage, in order, at its own lead times."""
    if not cascade:
        named = [stage.name for stage in stages if stage.lead_stage]
        if named:
            raise ValueError(f"train.stages {named} name a lead_stage, but there is no cascade; add it or drop them")
        return
    _check_table(cascade, step_size_hours, steps)
    names = [part.name for part in cascade]
    served = []
    for stage in stages:
        name = stage.lead_stage or names[0]
        if name not in names:
            raise ValueError(f"stage {stage.name!r}: lead_stage {name!r} is not in cascade {names}")
        served.append(names.index(name))
        _check_lead_times(stage, cascade, served[-1], step_size_hours)
    if served != sorted(served) or set(served) != set(range(len(cascade))):
        raise ValueError(
            f"train.stages train the forecast stages {[names[i] for i in served]}, expected each of {names} in this "
            "order; sort train.stages or set their lead_stage"
        )


def _check_table(cascade: tuple[LeadStageConfig, ...], step_size_hours: int, steps: int) -> None:
    ends = [part.until_hours for part in cascade]
    if len({part.name for part in cascade}) < len(cascade):
        raise ValueError(f"cascade has a name twice: {[part.name for part in cascade]}")
    if any(a >= b for a, b in pairwise(ends)) or any(end % step_size_hours for end in ends):
        raise ValueError(f"cascade.until_hours {ends} must increase in multiples of {step_size_hours} h")
    if ends[-1] < steps * step_size_hours:
        raise ValueError(
            f"the cascade ends at {ends[-1]} h, forecast.steps {steps} at {steps * step_size_hours} h; raise the last "
            "until_hours"
        )


def _check_lead_times(
    stage: StageConfig, cascade: tuple[LeadStageConfig, ...], number: int, step_size_hours: int
) -> None:
    """What a stage scores must be made by the forecast stage it trains; the first may train beyond its end."""
    if number == 0:
        return
    start = cascade[number - 1].until_hours // step_size_hours
    scored = stage.gradient_steps or stage.rollout_steps
    if (stage.rollout_start or stage.rollout_steps) - scored < start:
        raise ValueError(
            f"stage {stage.name!r} trains {cascade[number].name!r}, which starts after step {start}, but scores steps "
            f"of rollouts from step {(stage.rollout_start or stage.rollout_steps) - scored + 1} on; set rollout_steps "
            f"to at least {start} + gradient_steps"
        )
