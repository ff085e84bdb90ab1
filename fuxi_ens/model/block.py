"""The conditioned transformer: block, layer, trunk (model.md 2.4).

Shape legend: B batch, h/w token rows and columns, D embedding.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.attention import WindowAttention, WindowTables
from fuxi_ens.model.noise import Noise
from fuxi_ens.model.norm import LayerNorm

Dropout = Callable[[Tensor], Tensor]
"""Applied to tokens; carries its own probability and random stream."""


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
        self.norm = LayerNorm(config)
        self.attn = WindowAttention(config.embedding, config.heads, config.window, shift)
        self.mlp = GatedMLP(config.embedding, config.mlp_hidden)

    def forward(self, x_BhwD: Tensor, cond_BD: Tensor, tables: WindowTables) -> Tensor:
        """[B, h, w, D] and [B, D] to [B, h, w, D]."""
        scale1, shift1, gate1, scale2, shift2, gate2 = self.adaln(cond_BD)[:, None, None].chunk(6, dim=-1)
        x = x_BhwD + gate1 * self.attn(self.norm(x_BhwD) * (1 + scale1) + shift1, tables)
        out: Tensor = x + gate2 * self.mlp(self.norm(x) * (1 + scale2) + shift2)
        return out


class Layer(nn.Module):
    """A stack of blocks; every second one is shifted by half a window."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shifts = [(i % 2) * config.block_shift for i in range(config.blocks_per_layer)]
        self.blocks = nn.ModuleList(Block(config, shift) for shift in shifts)
        self.recompute = False

    def forward(self, x_BhwD: Tensor, cond_BD: Tensor, tables: WindowTables) -> Tensor:
        """[B, h, w, D] to the same shape. With `recompute`, a block keeps its input only and runs again backwards."""
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                # No block draws random numbers: their state need not be kept.
                x_BhwD = checkpoint(block, x_BhwD, cond_BD, tables, use_reentrant=False, preserve_rng_state=False)
            else:
                x_BhwD = block(x_BhwD, cond_BD, tables)
        return x_BhwD


class ScaleShift(nn.Module):
    """Final norm of the trunk, scaled and shifted by the condition."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = LayerNorm(config)
        self.scale_shift = conditioning(config.embedding, 2)

    def forward(self, x_BhwD: Tensor, cond_BD: Tensor) -> Tensor:
        """[B, h, w, D] to the same shape."""
        scale, shift = self.scale_shift(cond_BD)[:, None, None].chunk(2, dim=-1)
        out: Tensor = self.norm(x_BhwD) * (1 + scale) + shift
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
