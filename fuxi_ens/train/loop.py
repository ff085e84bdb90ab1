"""The training loop: stages in order, resumable at any saved iteration, bit for bit.

Every random number is a function of (run seed, stage, iteration), so a resumed run equals an uninterrupted one.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fuxi_ens.checkpoint import is_complete, save_checkpoint
from fuxi_ens.config import Config, Section, StageConfig, TrainConfig
from fuxi_ens.data.era5 import FrameReader
from fuxi_ens.data.loader import Batch, Loader, load_batch
from fuxi_ens.data.samples import SampleIndex
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.device import choose_device, require_one_process
from fuxi_ens.errors import UserError
from fuxi_ens.losses.objective import ObjectiveTerms, Weights
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.noise import Noise, Stream
from fuxi_ens.paths import RunPaths
from fuxi_ens.progress import Advance, progress
from fuxi_ens.provenance import config_hash, provenance
from fuxi_ens.times import Times
from fuxi_ens.train.metrics_log import MetricsLog
from fuxi_ens.train.module import TrainingModule
from fuxi_ens.train.monitors import CollapseAlarm
from fuxi_ens.train.schedule import kl_weight, learning_rate
from fuxi_ens.train.setup import initial_model, open_frames, point_weights
from fuxi_ens.train.state import Position, load_state, save_state
from fuxi_ens.train.validation import validate

_NOISE_STREAM, _VALIDATION_STREAM = 2, 3
log = logging.getLogger(__name__)


@dataclass
class Run:
    """Everything that lives as long as the run."""

    config: Config
    device: torch.device
    model: FuxiEns
    ema: AveragedModel
    weights: Weights
    frames: FrameReader
    metrics: MetricsLog
    paths: RunPaths

    def averaged(self) -> FuxiEns:
        """The model with averaged weights: used for validation and inference."""
        module = self.ema.module
        assert isinstance(module, FuxiEns)
        return module


def fit(config: Config, *, resume: bool = True) -> Path:
    """Train from scratch or from the newest state in the run folder; returns the folder of the finished model.

    Without `resume` a folder that holds states is refused. Raises UserError for that, for states of other settings,
    and for a loss or gradient that is not finite.
    """
    require_one_process()
    paths = RunPaths(config.run.folder)
    statistics = load_statistics(paths.statistics, config)
    restored = load_state(paths.training, _identity(config))
    if restored and not resume:
        raise UserError(f"{paths.training} holds a started run; resume it, delete it, or choose another run.folder")
    position, tensors = restored if restored else (Position(0, 0), {})
    finished = position.stage == len(config.train.stages)
    if finished and is_complete(paths.model):
        log.info("training is complete already")
        return paths.model
    device = choose_device(config.run.threads)
    model = initial_model(config, statistics, device)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.train.ema_decay))
    if tensors:
        model.load_state_dict(tensors["model"])
        ema.load_state_dict(tensors["ema"])
    if not finished:
        _run_stages(config, model, ema, position, tensors.get("optimizer"))
    averaged = ema.module
    assert isinstance(averaged, FuxiEns)
    save_checkpoint(paths.model, averaged, config.data.step_size_hours, provenance(config, *_deciding(config)))
    return paths.model


def _run_stages(
    config: Config, model: FuxiEns, ema: AveragedModel, position: Position, optimizer: dict[str, object] | None
) -> None:
    """All stages from `position` on; `optimizer` is the state of the stage the position is in."""
    paths = RunPaths(config.run.folder)
    frames = open_frames(config, config.data.train + config.data.validation)
    metrics = MetricsLog(paths.metrics, _iterations_before(config, position.stage) + position.iteration)
    run = Run(config, model.mean.device, model, ema, point_weights(model, config.train), frames, metrics, paths)
    if optimizer:
        log.info("resuming stage %s at iteration %d", config.train.stages[position.stage].name, position.iteration)
    for number in range(position.stage, len(config.train.stages)):
        # A state saved at the end of a stage holds that stage's optimizer; the next stage starts its own.
        _run_stage(run, number, position.iteration, optimizer if position.iteration else None)
        position = Position(number + 1, 0)


def _deciding(config: Config) -> tuple[Section, ...]:
    """The sections that decide the weights."""
    return config.data, config.model, config.train


def _identity(config: Config) -> str:
    return config_hash(config, *_deciding(config))


def _iterations_before(config: Config, stage: int) -> int:
    return sum(s.iterations for s in config.train.stages[:stage])


def _run_stage(run: Run, number: int, first: int, optimizer_state: dict[str, object] | None) -> None:
    stage = run.config.train.stages[number]
    module = TrainingModule(run.model, stage, run.weights)
    optimizer = _optimizer(run, stage)
    if optimizer_state:
        optimizer.load_state_dict(optimizer_state)
    data = run.config.data
    index = SampleIndex.legal(run.frames.times, data.train, data.step_size, stage.rollout_steps)
    loader = Loader(run.frames, data.step_size, stage.rollout_steps, stage.batch_size, run.device)
    todo = range(first, stage.iterations)
    alarm = CollapseAlarm(stage, run.config.train.collapse_alarm_logs)

    def chosen(i: int) -> Times:
        return index.batch(i, stage.batch_size, seed=(run.config.run.seed, number))

    with progress(f"training {stage.name}", stage.iterations) as advance:
        if first:
            advance(first, "resumed")
        for i, batch in zip(todo, loader.stream(chosen, todo), strict=True):
            terms = _iterate(run, module, optimizer, number, i, batch)
            if terms.monitors:
                alarm.hear(terms.monitors, terms.kl_weight)
            _after_iteration(run, optimizer, number, i + 1, terms, advance)


def _optimizer(run: Run, stage: StageConfig) -> torch.optim.AdamW:
    """AdamW over the networks of the stage; biases, norms and positions are not decayed."""
    networks = [run.model.decoder] if stage.objective == "l1" else [run.model]
    parameters = [p for network in networks for p in network.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": run.config.train.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=run.config.train.betas)


def _iterate(
    run: Run, module: TrainingModule, optimizer: torch.optim.Optimizer, number: int, i: int, batch: Batch
) -> ObjectiveTerms:
    """One iteration: forward, backward, clip, step, average."""
    stage, train = run.config.train.stages[number], run.config.train
    run.model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(stage, i)
    noise = Noise([Stream([run.config.run.seed, _NOISE_STREAM, number, i], run.device)])
    with torch.autocast(run.device.type, torch.bfloat16, enabled=train.precision == "bfloat16"):
        terms: ObjectiveTerms = module(batch, noise, kl_weight(stage, i), watch=_is_logged(train, stage, i + 1))
    _refuse_non_finite(run, terms, stage, i)
    # All networks, also those that this stage leaves alone: the clip counts every gradient.
    run.model.zero_grad(set_to_none=True)
    terms.total.backward()
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), train.clip_norm)
    if not math.isfinite(norm.item()):
        bad = [n for n, p in run.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        where = f"in {len(bad)} tensors, first {bad[0]}" if bad else "in its norm"
        raise UserError(
            f"the gradient of stage {stage.name!r} is not finite at iteration {i} {where}; lower learning_rate"
        )
    optimizer.step()
    run.ema.update_parameters(run.model)
    return terms


def _is_logged(train: TrainConfig, stage: StageConfig, done: int) -> bool:
    return done % train.log_every == 0 or done == stage.iterations


def _refuse_non_finite(run: Run, terms: ObjectiveTerms, stage: StageConfig, i: int) -> None:
    if math.isfinite(terms.total.item()):
        return
    worst = [n for n, e in zip(run.config.model.channels, terms.error_C.tolist(), strict=True) if not math.isfinite(e)]
    raise UserError(
        f"the loss of stage {stage.name!r} is not finite at iteration {i} (error {terms.error.item()}, "
        f"KL {terms.kl.item()}, channels {worst}); lower learning_rate or check the data of that batch"
    )


def _after_iteration(
    run: Run, optimizer: torch.optim.Optimizer, number: int, done: int, terms: ObjectiveTerms, advance: Advance
) -> None:
    """Log, validate and save when due; `done` iterations of the stage are finished."""
    train = run.config.train
    stage = train.stages[number]
    total = _iterations_before(run.config, number) + done
    last = done == stage.iterations
    advance(1, f"loss {terms.total.item():.4f}")
    if _is_logged(train, stage, done):
        values = {"stage": stage.name, **terms.record(run.config.model.channels), "lr": learning_rate(stage, done - 1)}
        run.metrics.write("train", total, values)
    if done % train.validate_every == 0 or last:
        run.metrics.write("validation", total, {"stage": stage.name, **_validation_scores(run, stage)})
    if done % train.checkpoint_every == 0 or last:
        state = {"model": run.model.state_dict(), "ema": run.ema.state_dict(), "optimizer": optimizer.state_dict()}
        position = Position(number + 1, 0) if last else Position(number, done)
        save_state(run.paths.training, position, _identity(run.config), state)


def _validation_scores(run: Run, stage: StageConfig) -> dict[str, float]:
    """Scores of the averaged weights on a fixed, evenly spaced set of validation init times."""
    data = run.config.data
    index = SampleIndex.legal(run.frames.times, data.validation, data.step_size, stage.rollout_steps)
    chosen = index.spread(run.config.train.validation_init_times)
    batches = (
        load_batch(run.frames, chosen[i : i + 1], data.step_size, stage.rollout_steps) for i in range(len(chosen))
    )
    noise = Noise([Stream([run.config.run.seed, _VALIDATION_STREAM], run.device)])
    return validate(run.averaged(), (batch.to(run.device) for batch in batches), noise, run.weights)
