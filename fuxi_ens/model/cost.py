"""What training and forecasts take in operations, and in hours of a device that sustains an assumed rate.

Counted are the matrix products of the networks. Validation, reading, communication and the optimizer come on top.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from fuxi_ens.assets import config_file
from fuxi_ens.config import Config, ModelConfig, StageConfig, TrainConfig, load_config
from fuxi_ens.config.presets import ASSUMED_TFLOPS, ENSEMBLE, TRAINED_BY
from fuxi_ens.model.memory import Placement, forecast_memory, run_memory
from fuxi_ens.model.passes import Passes, count_passes
from fuxi_ens.model.summary import forward_work, step_flops, summarize

_TERA, _HOUR, _MINUTE = 1e12, 3600, 60
_DEVICES = (1, 8, 64)
_BACKWARD = 2
"""Passes forward that a pass backward is worth: each product has two, one for each factor."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Operations that a device sustains, 10^12 per second, by the type of the products."""

    bfloat16: float = ASSUMED_TFLOPS["bfloat16"]
    float32: float = ASSUMED_TFLOPS["float32"]

    def training(self, train: TrainConfig) -> float:
        """That of a training's precision."""
        return self.bfloat16 if train.precision == "bfloat16" else self.float32


def iteration_flops(config: ModelConfig, stage: StageConfig, train: TrainConfig) -> float:
    """Operations of an iteration on each device, averaged over the rollout lengths of the stage."""
    lengths = range(stage.rollout_start or stage.rollout_steps, stage.rollout_steps + 1)
    batches = [count_passes(config, stage, steps, train.ranks_per_sample) for steps in lengths]
    return stage.accumulate * fmean(_batch_flops(config, passes, train.recompute) for passes in batches)


def training_hours(run: Config, rates: Rates) -> dict[str, float]:
    """Hours that every device is busy with each stage of a run, by the name of the stage.

    Batches are per device: more devices take as long, and see more samples.
    """
    per_hour = _HOUR * _TERA * rates.training(run.train)
    return {
        stage.name: stage.iterations * iteration_flops(run.model, stage, run.train) / per_hour
        for stage in run.train.stages
    }


def ensemble_minutes(config: ModelConfig, members: int, steps: int, rates: Rates) -> float:
    """Minutes of one device for a forecast, which runs in float32."""
    return members * steps * step_flops(config) / (_TERA * rates.float32) / _MINUTE


@dataclass(frozen=True, slots=True)
class PresetCost:
    """What a preset's network takes, trained as its run file says."""

    run_file: str
    model: ModelConfig
    parameters: int
    """Of P and the forecast network."""
    step_flops: int
    forecast_bytes: int
    """With one member at a time."""
    training_bytes: Mapping[int, int]
    """On each of so many devices, in the stage that takes most."""
    training_hours: float
    """Of every device."""
    ensemble_minutes: float


def preset_costs(rates: Rates) -> dict[str, PresetCost]:
    """By preset; training in bfloat16, blocks recomputed, everything sharded, whatever the run file says of that."""
    return {preset: _preset_cost(run_file, rates) for preset, run_file in TRAINED_BY.items()}


def _preset_cost(run_file: str, rates: Rates) -> PresetCost:
    run = load_config(config_file(run_file))
    train = run.train.model_copy(update={"precision": "bfloat16", "recompute": True, "parallel": "fsdp"})
    run = run.model_copy(update={"train": train})
    placements = {devices: Placement.configured(train, devices) for devices in _DEVICES}
    return PresetCost(
        run_file=run_file,
        model=run.model,
        parameters=summarize(run.model)["inference_parameters"],
        step_flops=step_flops(run.model),
        forecast_bytes=forecast_memory(run.model, 1).total,
        training_bytes={n: max(m.total for m in run_memory(run, p).values()) for n, p in placements.items()},
        training_hours=sum(training_hours(run, rates).values()),
        ensemble_minutes=ensemble_minutes(run.model, *ENSEMBLE, rates),
    )


def _batch_flops(config: ModelConfig, passes: Passes, recompute: bool) -> int:
    work, depth = forward_work(config), config.blocks_per_layer
    again = work.block * depth if recompute else 0
    perturbation = (1 + _BACKWARD) * work.perturbation + again * config.perturbation_layers
    forecast = (1 + _BACKWARD) * work.forecast + again * config.forecast_layers
    kept = passes.perturbation * perturbation + passes.forecast * forecast
    return kept + passes.free_perturbation * work.perturbation + passes.free_forecast * work.forecast
