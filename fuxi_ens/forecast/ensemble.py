"""All work items of a run, one after another, into the sinks; what is already finished is left alone."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuxi_ens.checkpoint import LeadModels, load_models
from fuxi_ens.config import Config
from fuxi_ens.device import choose_device
from fuxi_ens.errors import UserError
from fuxi_ens.forecast.claims import Claims, claimed
from fuxi_ens.forecast.draws import Draws
from fuxi_ens.forecast.guard import Guard
from fuxi_ens.forecast.initial import InitialConditions, open_initial_conditions
from fuxi_ens.forecast.rollout import EnsembleSettings, rollout
from fuxi_ens.forecast.sink import FailedMember, ForecastPlan, OpenSink, Sink, WorkItem
from fuxi_ens.forecast.store_sink import open_store_sink
from fuxi_ens.launch import this_process
from fuxi_ens.paths import RunPaths
from fuxi_ens.progress import progress
from fuxi_ens.provenance import CONTROL_MEMBER, DRAWS, provenance
from fuxi_ens.times import Times, label


@dataclass(frozen=True, slots=True)
class ForecastSummary:
    """How a run's forecast stands."""

    store: Path
    done: int
    """Init times that are complete, of all of the run."""
    left: int
    failed: tuple[str, ...]
    """Members that were given up."""

    def __str__(self) -> str:
        rest = f", {self.left} left: run the same command again, or the other parts" if self.left else ""
        return f"{self.done} of {self.done + self.left} init times complete in {self.store}{rest}"


def run_forecast(
    config: Config,
    chosen: Times | None = None,
    part: slice = slice(None),
    open_sinks: Sequence[OpenSink] = (open_store_sink,),
) -> ForecastSummary:
    """Make the ensembles of the config's init times, or of the `chosen` ones among them.

    `part` picks some of their work items. Processes of one launcher, and others at the same folder, divide the items
    among themselves. Returns when all of them are finished, whoever made them. Raises UserError for settings that do
    not fit the model.
    """
    paths = RunPaths(config.run.folder)
    models = load_models(
        paths.model, choose_device(config.run.threads, bfloat16=config.forecast.precision == "bfloat16")
    )
    _require_configured(config, models, paths.model)
    initial = open_initial_conditions(config)
    wanted = _wanted(config, chosen)
    initial.require(wanted)
    plan = _plan(config, models, initial.store)
    numbers = [number for number, item in enumerate(plan.items) if item.init_time in wanted][part]
    with ExitStack() as stack:
        claims = Claims(paths.claims(config.forecast_store))
        stack.callback(claims.close)
        sinks = []
        for open_sink in open_sinks:
            sinks.append(open_sink(plan))
            stack.callback(sinks[-1].close)
        _make_all(plan, models, initial, sinks, _Share(numbers, claims))
    return _summary(plan, sinks)


@dataclass(frozen=True)
class _Share:
    """Items that this process is to see finished, by number."""

    numbers: Sequence[int]
    claims: Claims


def _make_all(
    plan: ForecastPlan, models: LeadModels, initial: InitialConditions, sinks: Sequence[Sink], share: _Share
) -> None:
    process, steps = this_process(), plan.config.forecast.steps

    def is_finished(number: int) -> bool:
        return all(sink.is_finished(plan.items[number]) for sink in sinks)

    with progress("forecasting", len(share.numbers) * steps) as advance:
        for number, to_make in claimed(share.numbers, process.rank, process.world, is_finished, share.claims):
            item = plan.items[number]
            if not to_make:
                advance(steps, "already there")
                continue
            for _ in _make(plan.config, models, initial, item, sinks):
                advance(1, str(item))


def _summary(plan: ForecastPlan, sinks: Sequence[Sink]) -> ForecastSummary:
    config, init_times = plan.config, plan.config.forecast.init_times.times
    left = {item.init_time for item in plan.items if not all(sink.is_finished(item) for sink in sinks)}
    # Several sinks remember the same member.
    failed = dict.fromkeys(member.reason for item in plan.items for sink in sinks for member in sink.given_up(item))
    place = config.forecast_store if config.forecast.keep_fields else RunPaths(config.run.folder).scores
    return ForecastSummary(place, len(init_times) - len(left), len(left), tuple(failed))


def _require_configured(config: Config, models: LeadModels, folder: Path) -> None:
    """Raise UserError unless the model is the one that the config describes."""
    if models.first.step_size_hours != config.data.step_size_hours:
        raise UserError(
            f"the model in {folder} steps {models.first.step_size_hours} h, the config says "
            f"data.step_size_hours {config.data.step_size_hours}; set it to the model's"
        )
    table = tuple((part.name, part.until_hours) for part in config.cascade)
    if models.table != table:
        raise UserError(
            f"the model in {folder} has {_shown(models.table)}, the config has {_shown(table)}; use the config it was "
            "trained with, or choose another run.folder"
        )
    for stage in models.stages:
        if stage.checkpoint.model.config != config.model:
            raise UserError(
                f"the model in {folder / stage.name} was trained with another model section than the config has; use "
                "the config it was trained with, or choose another run.folder"
            )


def _shown(table: tuple[tuple[str, int], ...]) -> str:
    return "the cascade " + ", ".join(f"{name} to {hours} h" for name, hours in table) if table else "no cascade"


def _origin(models: LeadModels) -> dict[str, str]:
    """Attributes that say which networks made a forecast; the hash of the weights is part of its identity."""
    trainings = dict.fromkeys(str(stage.checkpoint.provenance.get("config_hash", "")) for stage in models.stages)
    origin = {"weights_hash": models.weights_hash, "training_hash": ", ".join(trainings)}
    if models.table:
        origin["cascade"] = ", ".join(
            f"{stage.name} to {stage.until_hours} h: {stage.checkpoint.weights_hash}" for stage in models.stages
        )
    return origin


def _wanted(config: Config, chosen: Times | None) -> Times:
    known = config.forecast.init_times.times
    if chosen is None:
        return known
    unknown = chosen[~np.isin(chosen, known)]
    if unknown.size:
        raise UserError(f"{label(unknown[0])} is no init time of the config: {label(known[0])} to {label(known[-1])}")
    return chosen


def _plan(config: Config, models: LeadModels, source: str) -> ForecastPlan:
    return ForecastPlan(
        config=config,
        channels=models.channels,
        items=tuple(
            WorkItem(init_time, numbers)
            for init_time in config.forecast.init_times.times
            for numbers in config.forecast.member_blocks
        ),
        attributes={
            **provenance(config, config.forecast),
            "analysis_store": source,
            **_origin(models),
            DRAWS: config.forecast.draws,
            **({CONTROL_MEMBER: 0} if config.forecast.control else {}),
        },
    )


def _make(
    config: Config, models: LeadModels, initial: InitialConditions, item: WorkItem, sinks: Sequence[Sink]
) -> Iterator[None]:
    """Roll out one item into the sinks; yields after each lead time."""
    guard = _guard(config)
    frames = rollout(models, initial.history(item.init_time), item.init_time, _settings(config), guard, item.numbers)
    for sink in sinks:
        sink.begin(item)
    for lead, (_, ens_MCHW) in enumerate(frames):
        for sink in sinks:
            sink.write(item, lead, item.numbers, ens_MCHW)
        yield
    failed = [FailedMember(failure.number, str(failure)) for failure in guard.failures]
    for sink in sinks:
        sink.finish(item, failed)


def _settings(config: Config) -> EnsembleSettings:
    forecast = config.forecast
    return EnsembleSettings(
        draws=Draws(forecast.draws, config.run.seed, forecast.members),
        control=forecast.control,
        steps=forecast.steps,
        members_per_batch=forecast.members_per_batch,
        step_size=config.data.step_size,
        precision=forecast.precision,
    )


def _guard(config: Config) -> Guard:
    factor = config.forecast.guard_factor
    return Guard(
        config.model.channels,
        config.model.grid,
        None if factor == "off" else factor,
        proceed=config.forecast.on_failure == "continue",
    )
