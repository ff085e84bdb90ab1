"""Physical model units to standardized values and back (model.md 1.4), channel by channel.

Shape legend: C channels, H latitude, W longitude; leading dimensions `...` are free.
"""

import torch
from torch import Tensor

LOG_PRECIPITATION_MAX = 7.0
"""Cap of log(1 + mm): the release clips there, about 1095 mm in 6 h."""


def to_standard(frames: Tensor, mean: Tensor, std: Tensor, log1p: Tensor) -> Tensor:
    """Standardize [..., C, H, W]. NaN stays NaN; `log1p` [C] marks channels that are logged first."""
    logged = torch.log1p(frames.clamp(min=0.0))
    values = torch.where(_broadcast(log1p), logged, frames)
    return (values - _broadcast(mean)) / _broadcast(std)


def to_physical(standard: Tensor, mean: Tensor, std: Tensor, log1p: Tensor) -> Tensor:
    """Inverse of `to_standard`; logged channels end up within 0 and expm1(7)."""
    values = standard * _broadcast(std) + _broadcast(mean)
    return torch.where(_broadcast(log1p), torch.expm1(values.clamp(0.0, LOG_PRECIPITATION_MAX)), values)


def fill_missing(standard: Tensor) -> Tensor:
    """NaN to 0, the mean of the channel: how the network sees sea-surface temperature over land."""
    return torch.nan_to_num(standard, nan=0.0)


def _broadcast(per_channel: Tensor) -> Tensor:
    return per_channel[:, None, None]
