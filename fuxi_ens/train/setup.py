"""What a run needs before its first iteration: data, and a model with statistics and static fields."""

import numpy as np
import torch
from torch import Tensor

from fuxi_ens.config import Config, Period, TrainConfig
from fuxi_ens.data.era5 import FrameReader, cache_frames, open_configured
from fuxi_ens.data.static import static_fields
from fuxi_ens.data.statistics import Statistics
from fuxi_ens.grid import area_weights
from fuxi_ens.losses.objective import Weights
from fuxi_ens.model import FuxiEns, build_model
from fuxi_ens.progress import progress

_INCREMENT_FLOOR, _SMALLEST_INCREMENT = 0.5, 1e-6


def initial_model(config: Config, statistics: Statistics, device: torch.device) -> FuxiEns:
    """A model with seeded random weights, its statistics and its static fields."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = build_model(config.model)
    model.mean.copy_(torch.tensor(statistics.mean))
    model.std.copy_(torch.tensor(statistics.std))
    model.increment_std.copy_(torch.tensor(statistics.increment_std))
    fields = static_fields(config.data.static_store or config.data.store, config.model.grid)
    model.const.copy_(torch.from_numpy(fields))
    return model.to(device)


def open_frames(config: Config, periods: tuple[Period, ...]) -> FrameReader:
    """The analysis, decoded into memory for the given periods if the config asks for it."""
    analysis = open_configured(config)
    analysis.require_complete(periods, config.data.step_size)
    analysis.require_plausible(analysis.times[0])
    if not config.data.in_memory:
        return analysis
    wanted = analysis.times[np.any([period.contains(analysis.times) for period in periods], axis=0)]
    with progress("reading analyses", len(wanted)) as advance:
        return cache_frames(analysis, wanted, advance)


def point_weights(model: FuxiEns, train: TrainConfig) -> Weights:
    """Weights of grid points and channels on the model's device."""
    area = torch.as_tensor(area_weights(model.config.grid.latitude), dtype=torch.float32)
    return Weights(area.to(model.mean.device), _channel_weights(model, train))


def _channel_weights(model: FuxiEns, train: TrainConfig) -> Tensor:
    if train.channel_weights == "equal":
        return torch.ones_like(model.mean)
    # Prescribed fields hardly change in 6 h; without a floor they would take all the weight.
    floor = (_INCREMENT_FLOOR * model.increment_std.median()).clamp(min=_SMALLEST_INCREMENT)
    inverse = 1.0 / model.increment_std.clamp(min=floor)
    return inverse / inverse.mean()
