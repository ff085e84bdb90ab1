"""Tiny networks with random weights everywhere, also where a new network starts at zero."""

import torch

from fuxi_ens.config import ModelConfig
from fuxi_ens.model import build_model

CHANNELS = ("z500", "t850", "t2m", "sst", "ssr", "ssrd", "fdir", "ttr", "tp")
ACCUMULATED = slice(4, 9)
SST, TP = 3, 8


def model_config(**changes):
    """4 x 8 tokens in windows of 2 x 2, so that a window has neighbors on all sides."""
    shape = {
        "channels": CHANNELS,
        "height": 8,
        "width": 16,
        "patch": 2,
        "embedding": 16,
        "heads": 2,
        "window": 2,
        "mlp_hidden": 24,
        "perturbation_layers": 2,
        "forecast_layers": 1,
        "blocks_per_layer": 2,
        "dropout": 0.0,
    }
    return ModelConfig(**{**shape, **changes})


def random_model(config, generator):
    """A network whose every parameter and statistic is a random number."""
    model = build_model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
        count = len(config.channels)
        model.mean.copy_(torch.randn(count, generator=generator))
        model.std.copy_(0.5 + torch.rand(count, generator=generator))
        model.increment_std.copy_(0.2 + torch.rand(count, generator=generator))
        model.const.copy_(torch.randn(model.const.shape, generator=generator))
    return model


def physical_frames(config, batch, generator):
    """History in model units [B, 2, C, H, W]; sea temperature is missing over the same points in both frames."""
    frames = torch.randn(batch, 2, len(config.channels), config.height, config.width, generator=generator)
    if "tp" in config.channels:
        frames[:, :, config.channels.index("tp")].abs_()
    if "sst" in config.channels:
        frames[:, :, config.channels.index("sst"), ::3, ::2] = torch.nan
    return frames


def clocks(batch, step=3.0):
    """Clock [B, 3], different in every element."""
    return torch.stack([torch.tensor([step, 0.25 * (b % 4), 0.1 * b + 0.05]) for b in range(batch)])
