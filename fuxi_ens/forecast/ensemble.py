"""All init times of a run, one after another; what is already complete is left alone."""

from pathlib import Path

import numpy as np

from fuxi_ens.checkpoint import Checkpoint, load_checkpoint
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
    checkpoint = load_checkpoint(paths.model, choose_device(config.run.threads))
    if checkpoint.step_size_hours != config.data.step_size_hours:
        raise UserError(
            f"the model in {paths.model} steps {checkpoint.step_size_hours} h, the config says "
            f"data.step_size_hours {config.data.step_size_hours}; set it to the model's"
        )
    if checkpoint.model.config != config.model:
        raise UserError(
            f"the model in {paths.model} was trained with another model section than the config has; use the config "
            "it was trained with, or choose another run.folder"
        )
    source = config.forecast.store or config.data.store
    model = checkpoint.model.config
    analysis = open_analysis(
        source, model.channels, model.grid, config.data.step_size, threads=config.data.read_threads
    )
    attributes = {
        **provenance(config, config.forecast),
        "analysis_store": source,
        "weights_hash": checkpoint.weights_hash,
        "training_hash": checkpoint.provenance.get("config_hash", ""),
    }
    store = ForecastStore(paths.forecast, _layout(config, checkpoint), config.forecast.channels, attributes)
    wanted = _wanted(config, chosen)
    analysis.require(np.concatenate([frame_times(time, config.data.step_size, 0) for time in wanted]))
    analysis.require_plausible(wanted[0])
    with progress("forecasting", len(wanted) * config.forecast.steps) as advance:
        for init_time in wanted:
            if store.is_complete(init_time):
                advance(config.forecast.steps, "already there")
            else:
                _forecast_one(config, checkpoint, analysis, store, init_time, advance)
    return paths.forecast


def _wanted(config: Config, chosen: Times | None) -> Times:
    known = config.forecast.init_times.times
    if chosen is None:
        return known
    unknown = chosen[~np.isin(chosen, known)]
    if unknown.size:
        raise UserError(f"{label(unknown[0])} is no init time of the config: {label(known[0])} to {label(known[-1])}")
    return chosen


def _layout(config: Config, checkpoint: Checkpoint) -> Layout:
    return Layout(
        init_times=config.forecast.init_times.times,
        members=config.forecast.members,
        lead_times=lead_times(config.data.step_size, config.forecast.steps),
        channels=config.forecast.channels,
        grid=checkpoint.model.config.grid,
        leads_per_shard=config.forecast.leads_per_shard,
    )


def _forecast_one(
    config: Config,
    checkpoint: Checkpoint,
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
    written_channels = [checkpoint.model.config.channels.index(name) for name in config.forecast.channels]
    history = analysis.read(frame_times(init_time, config.data.step_size, 0))
    waiting: list[Frames] = []
    written = 0
    for _, ens_MCHW in rollout(checkpoint.model, history, init_time, settings):
        waiting.append(ens_MCHW[:, written_channels])
        if len(waiting) == config.forecast.leads_per_shard or written + len(waiting) == settings.steps:
            store.write(init_time, written, np.stack(waiting, axis=1))
            written += len(waiting)
            waiting.clear()
        advance(1, label(init_time))
    store.mark_complete(init_time)
