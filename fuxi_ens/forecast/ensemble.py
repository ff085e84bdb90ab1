"""All work items of a run, one after another, into the sinks; what is already finished is left alone."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from fuxi_ens.checkpoint import LeadModels, load_models
from fuxi_ens.config import Config
from fuxi_ens.data.era5 import Analysis, open_analysis
from fuxi_ens.data.samples import frame_times
from fuxi_ens.device import choose_device
from fuxi_ens.errors import UserError
from fuxi_ens.forecast.rollout import EnsembleSettings, rollout
from fuxi_ens.forecast.sink import ForecastPlan, OpenSink, Sink, WorkItem
from fuxi_ens.forecast.store_sink import open_store_sink
from fuxi_ens.paths import RunPaths
from fuxi_ens.progress import progress
from fuxi_ens.provenance import provenance
from fuxi_ens.times import Times, label


def run_forecast(
    config: Config, chosen: Times | None = None, open_sinks: Sequence[OpenSink] = (open_store_sink,)
) -> Path:
    """Make the ensembles of the config's init times, or of the `chosen` ones among them; returns the store's path."""
    paths = RunPaths(config.run.folder)
    models = load_models(paths.model, choose_device(config.run.threads))
    _require_configured(config, models, paths.model)
    source = config.forecast.store or config.data.store
    analysis = open_analysis(
        source, models.channels, config.model.grid, config.data.step_size, threads=config.data.read_threads
    )
    wanted = _wanted(config, chosen)
    analysis.require(np.concatenate([frame_times(time, config.data.step_size, 0) for time in wanted]))
    analysis.require_plausible(wanted[0])
    plan = _plan(config, models, source)
    items = [item for item in plan.items if item.init_time in wanted]
    with ExitStack() as stack, progress("forecasting", len(items) * config.forecast.steps) as advance:
        sinks = []
        for open_sink in open_sinks:
            sinks.append(open_sink(plan))
            stack.callback(sinks[-1].close)
        for item in items:
            if all(sink.is_finished(item) for sink in sinks):
                advance(config.forecast.steps, "already there")
                continue
            for _ in _make(config, models, analysis, item, sinks):
                advance(1, label(item.init_time))
    return paths.forecast


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
    members = range(config.forecast.members)
    return ForecastPlan(
        config=config,
        channels=models.channels,
        items=tuple(WorkItem(init_time, members) for init_time in config.forecast.init_times.times),
        attributes={**provenance(config, config.forecast), "analysis_store": source, **_origin(models)},
    )


def _make(
    config: Config, models: LeadModels, analysis: Analysis, item: WorkItem, sinks: Sequence[Sink]
) -> Iterator[None]:
    """Roll out one item into the sinks; yields after each lead time."""
    settings = EnsembleSettings(
        seed=config.run.seed,
        members=len(item.numbers),
        steps=config.forecast.steps,
        members_per_batch=config.forecast.members_per_batch,
        step_size=config.data.step_size,
        first_member=item.numbers[0],
    )
    history = analysis.read(frame_times(item.init_time, config.data.step_size, 0))
    for sink in sinks:
        sink.begin(item)
    for lead, (_, ens_MCHW) in enumerate(rollout(models, history, item.init_time, settings)):
        for sink in sinks:
            sink.write(item, lead, item.numbers, ens_MCHW)
        yield
    for sink in sinks:
        sink.finish(item)
