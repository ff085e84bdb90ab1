"""Layer norm over the channels of a token, always in float32 (model.md 2.3, 2.4)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxi_ens.config import ModelConfig

_EPS = 1e-6


class LayerNorm(nn.Module):
    """Zero mean and unit variance over the last dimension; no bias, a scale per channel only if `scaled`."""

    weight: nn.Parameter | None

    def __init__(self, config: ModelConfig, *, scaled: bool = False) -> None:
        super().__init__()
        self.width = config.embedding
        # With n - 1 instead of n, (x - m) / sqrt(v n / (n - 1) + eps) is the usual norm times sqrt((n - 1) / n), with
        # eps (n - 1) / n in place of eps: the fused kernel serves both.
        self.shrink = 1.0 - 1.0 / self.width if config.norm_variance == "sample" else 1.0
        self.weight = nn.Parameter(torch.ones(self.width)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to the same shape, float32 whatever the autocast type."""
        normed = F.layer_norm(x.float(), (self.width,), self.weight, eps=_EPS * self.shrink)
        return normed if self.shrink == 1.0 else normed * math.sqrt(self.shrink)
