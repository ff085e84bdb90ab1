"""All init times of a run, one after another; what is already complete is left alone."""

from pathlib import Path

import numpy as np

from fuxi_ens.checkpoint import LeadModels, load_models
from fuxi_ens.config import Config
from fuxi_ens.data.era5 import Analysis, Frames, open_analysis
from fuxi_ens.data.samples import frame_times
from fuxi_ens.device import choose_device
from fuxi_ens.errors import UserError
from fuxi_ens.forecast.rollout import EnsembleSettings, rollout
from fuxi_ens.forecast.store import ForecastStore, Layout
from fuxi_ens.paths import RunPaths
from fuxi_ens.progress import Advance, progress
from fuxi_ens.provenance import provenance
from fuxi_ens.times import Times, label, lead_times


def run_forecast(config: Config, chosen: Times | None = None) -> Path:
    """Write the ensembles of the config's init times, or of the `chosen` ones among them; returns the store."""
    paths = RunPaths(config.run.folder)
    models = load_models(paths.model, choose_device(config.run.threads))
    _require_configured(config, models, paths.model)
    source = config.forecast.store or config.data.store
    analysis = open_analysis(
        source, models.channels, config.model.grid, config.data.step_size, threads=config.data.read_threads
    )
    attributes = {**provenance(config, config.forecast), "analysis_store": source, **_origin(models)}
    store = ForecastStore(paths.forecast, _layout(config), config.forecast.channels, attributes)
    wanted = _wanted(config, chosen)
    analysis.require(np.concatenate([frame_times(time, config.data.step_size, 0) for time in wanted]))
    analysis.require_plausible(wanted[0])
    with progress("forecasting", len(wanted) * config.forecast.steps) as advance:
        for init_time in wanted:
            if store.is_complete(init_time):
                advance(config.forecast.steps, "already there")
            else:
                _forecast_one(config, models, analysis, store, init_time, advance)
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


def _layout(config: Config) -> Layout:
    return Layout(
        init_times=config.forecast.init_times.times,
        members=config.forecast.members,
        lead_times=lead_times(config.data.step_size, config.forecast.steps),
        channels=config.forecast.channels,
        grid=config.model.grid,
        leads_per_shard=config.forecast.leads_per_shard,
    )


def _forecast_one(
    config: Config,
    models: LeadModels,
    analysis: Analysis,
    store: ForecastStore,
    init_time: np.datetime64,
    advance: Advance,
) -> None:
    """Roll out from one init time; full shards go to disk as they fill."""
    settings = EnsembleSettings(
        seed=config.run.seed,
        members=config.forecast.members,
        steps=config.forecast.steps,
        members_per_batch=config.forecast.members_per_batch,
        step_size=config.data.step_size,
    )
    # Only what is written waits for its shard.
    written_channels = [models.channels.index(name) for name in config.forecast.channels]
    history = analysis.read(frame_times(init_time, config.data.step_size, 0))
    waiting: list[Frames] = []
    written = 0
    for _, ens_MCHW in rollout(models, history, init_time, settings):
        waiting.append(ens_MCHW[:, written_channels])
        if len(waiting) == config.forecast.leads_per_shard or written + len(waiting) == settings.steps:
            store.write(init_time, written, np.stack(waiting, axis=1))
            written += len(waiting)
            waiting.clear()
        advance(1, label(init_time))
    store.mark_complete(init_time)
