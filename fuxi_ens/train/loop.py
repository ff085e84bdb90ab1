"""Training from the first stage to the finished model: on one process or many, resumable at any saved iteration.

Every random number is a function of the seed and of a sample's place, so a resumed run equals an uninterrupted one, bit
for bit on as many ranks. It may go on on another number of ranks.
"""

import logging
from pathlib import Path

import torch

from fuxi_ens.config import Config
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.device import choose_device
from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.provenance import config_hash
from fuxi_ens.train.attempts import note_attempt
from fuxi_ens.train.average import RunningAverage
from fuxi_ens.train.finite import FiniteGuard
from fuxi_ens.train.lead_stages import LeadStages
from fuxi_ens.train.metrics_log import Record
from fuxi_ens.train.pace import Pace
from fuxi_ens.train.parallel import spread
from fuxi_ens.train.picture import Draw
from fuxi_ens.train.ranks import Ranks, joined
from fuxi_ens.train.run import Run, deciding, restore
from fuxi_ens.train.setup import initial_model, open_frames, point_weights
from fuxi_ens.train.stage import StageRun
from fuxi_ens.train.state import Position, SavedState, StateStore

log = logging.getLogger(__name__)


def fit(config: Config, *, resume: bool = True, draw: Draw | None = None) -> Path:
    """Train from scratch or from the newest state in the run folder; returns the folder of the finished model.

    All processes of a launcher (`srun`, `torchrun`) call it and train together. `draw` makes the picture of a
    validation. Without `resume` a folder that holds states is refused. Raises UserError for that, for states of other
    settings, for a loss or gradient that is not finite; Stopped when a signal asked for it.
    """
    device = choose_device(config.run.threads, bfloat16=config.train.precision == "bfloat16")
    paths = RunPaths(config.run.folder)
    with joined(config.train.ranks_per_sample, device) as ranks:
        store = StateStore(paths.training, config_hash(config, *deciding(config)), config.train.keep_states, ranks)
        saved = store.newest()
        if saved and not resume:
            raise UserError(f"{paths.training} holds a started run; resume it, delete it, or choose another run.folder")
        position = saved.position if saved else Position(0, 0)
        lead_stages = LeadStages(config, ranks, device)
        if position.stage == len(config.train.stages) and lead_stages.complete():
            log.info("training is complete already")
        else:
            _note_attempt(ranks, paths, position)
            _train(config, ranks, device, store, saved, lead_stages, draw)
    return paths.model


def _train(
    config: Config,
    ranks: Ranks,
    device: torch.device,
    store: StateStore,
    saved: SavedState | None,
    lead_stages: LeadStages,
    draw: Draw | None,
) -> None:
    """What is left of the stages, then the finished model."""
    position = saved.position if saved else Position(0, 0)
    model = initial_model(config, load_statistics(RunPaths(config.run.folder).statistics, config), device)
    spread(model, config.train, ranks)
    average = RunningAverage(model, config.train.ema_decay)
    if saved and not position.iteration:
        restore(store, saved, model, average)
    if position.stage < len(config.train.stages):
        resumed_at = sum(s.iterations for s in config.train.stages[: position.stage]) + position.iteration
        with Record(config, resumed_at, main=ranks.main, draw=draw) as record:
            run = Run(
                config=config,
                ranks=ranks,
                device=device,
                model=model,
                average=average,
                weights=point_weights(model, config.train),
                frames=open_frames(config, config.data.train + config.data.validation),
                record=record,
                store=store,
                pace=Pace(config, resumed_at),
                guard=FiniteGuard(config.train, config.model.channels, ranks),
            )
            _run_stages(run, saved, lead_stages)
    lead_stages.publish(len(config.train.stages) - 1, model, average)


def _run_stages(run: Run, saved: SavedState | None, lead_stages: LeadStages) -> None:
    start = saved.position if saved else Position(0, 0)
    try:
        for number in range(start.stage, len(run.stages)):
            resuming = saved if number == start.stage and start.iteration else None
            if not resuming:
                lead_stages.enter(number, run.model, run.average)
            stage = StageRun(run, number, lead_stages.serving(number, run.model))
            stage.go(stage.resume(resuming) if resuming else 0)
    finally:
        # Several ranks may not wait for each other here: an error need not have met them all.
        if run.ranks.control is None:
            run.store.settle(wait=True)
    run.store.settle(wait=True)


def _note_attempt(ranks: Ranks, paths: RunPaths, position: Position) -> None:
    """Let rank 0 note that a job begins here; its refusal is that of all."""
    refusal = ""
    if ranks.main:
        try:
            note_attempt(paths.training, (position.stage, position.iteration))
        except UserError as error:
            refusal = str(error)
    refusal = ranks.from_main(refusal)
    if refusal:
        raise UserError(refusal)
