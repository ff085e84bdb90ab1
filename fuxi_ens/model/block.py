"""The conditioned transformer: block, layer, trunk (model.md 2.4).

Shape legend: B batch, h/w token rows and columns, D embedding.
"""

from collections.abc import Callable
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.attention import WindowAttention
from fuxi_ens.model.noise import Noise

_NORM_EPS = 1e-6

Dropout = Callable[[Tensor], Tensor]
"""Applied to tokens; carries its own probability and random stream."""


def norm(x: Tensor) -> Tensor:
    """Layer norm without parameters over the last dimension, in float32 whatever the autocast type."""
    return F.layer_norm(x.float(), x.shape[-1:], eps=_NORM_EPS)


def conditioning(embedding: int, parts: int) -> nn.Sequential:
    """SiLU and a linear map from the condition [B, D] to `parts` vectors.

    The linear map starts at zero: blocks begin as the identity, whatever the clock says.
    """
    linear = nn.Linear(embedding, parts * embedding)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.SiLU(), linear)


class GatedMLP(nn.Module):
    """a * gelu(b) with (a, b) from one linear map; no biases."""

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embedding, 2 * hidden, bias=False)
        self.fc2 = nn.Linear(hidden, embedding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        a, b = self.fc1(x).chunk(2, dim=-1)
        out: Tensor = self.fc2(a * F.gelu(b))
        return out


class Block(nn.Module):
    """Attention and MLP, each normed, scaled, shifted and gated by the condition."""

    def __init__(self, config: ModelConfig, shift: int) -> None:
        super().__init__()
        self.adaln = conditioning(config.embedding, 6)
        self.attn = WindowAttention(config.embedding, config.heads, config.token_grid, config.window, shift)
        self.mlp = GatedMLP(config.embedding, config.mlp_hidden)

    def forward(self, x_BhwD: Tensor, cond_BD: Tensor) -> Tensor:
        """[B, h, w, D] and [B, D] to [B, h, w, D]."""
        scale1, shift1, gate1, scale2, shift2, gate2 = self.adaln(cond_BD)[:, None, None].chunk(6, dim=-1)
        x = x_BhwD + gate1 * self.attn(norm(x_BhwD) * (1 + scale1) + shift1)
        out: Tensor = x + gate2 * self.mlp(norm(x) * (1 + scale2) + shift2)
        return out


class Layer(nn.Module):
    """A stack of blocks; every second one is shifted by half a window."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shifts = [(i % 2) * (config.window // 2) for i in range(config.blocks_per_layer)]
        self.blocks = nn.ModuleList(Block(config, shift) for shift in shifts)

    def forward(self, x_BhwD: Tensor, cond_BD: Tensor) -> Tensor:
        """[B, h, w, D] to the same shape."""
        for block in self.blocks:
            x_BhwD = block(x_BhwD, cond_BD)
        return x_BhwD


class ScaleShift(nn.Module):
    """Final norm of the trunk, scaled and shifted by the condition."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.scale_shift = conditioning(embedding, 2)

    def forward(self, x_BhwD: Tensor, cond_BD: Tensor) -> Tensor:
        """[B, h, w, D] to the same shape."""
        scale, shift = self.scale_shift(cond_BD)[:, None, None].chunk(2, dim=-1)
        out: Tensor = norm(x_BhwD) * (1 + scale) + shift
        return out


def run_trunk(
    layers: nn.ModuleList, final: ScaleShift, token_BhwD: Tensor, cond_BD: Tensor, dropout: Dropout
) -> Tensor:
    """All layers plus the long residual from the undropped embedding; dropout before each layer (model.md 2.4)."""
    x = token_BhwD
    for layer in layers:
        x = cast("Layer", layer)(dropout(x), cond_BD)
    out: Tensor = final(x, cond_BD) + token_BhwD
    return out


def no_dropout(x: Tensor) -> Tensor:
    """The identity: the forecast network has no dropout."""
    return x


def seeded_dropout(probability: float, noise: Noise) -> Dropout:
    """Inverted dropout that draws from `noise`, so that a member's masks belong to its seed."""

    def drop(x: Tensor) -> Tensor:
        keep = noise.uniform(x.shape) >= probability
        out: Tensor = x * keep / (1.0 - probability)
        return out

    return drop if probability else no_dropout
