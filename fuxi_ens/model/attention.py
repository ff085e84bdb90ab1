"""Windowed attention on the sphere's token grid: periodic in longitude, walled at the poles (model.md 2.2, 2.4).

Shape legend: B batch, h/w token rows and columns, D embedding, X windows, L tokens in a window, A heads, K head size.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.precision import attention_type, no_autocast, product_type

MASKED = -100.0
"""Added to the logits of token pairs that the shift brought together across the poles; the release's value."""


def to_windows(x_BhwD: Tensor, window: int) -> Tensor:
    """[B, h, w, D] to [B, X, L, D]; windows row by row, tokens row by row inside a window."""
    B, h, w, D = x_BhwD.shape
    x = x_BhwD.view(B, h // window, window, w // window, window, D)
    return x.transpose(2, 3).reshape(B, -1, window * window, D)


def from_windows(x_BXLD: Tensor, token_grid: tuple[int, int], window: int) -> Tensor:
    """Inverse of `to_windows`."""
    h, w = token_grid
    B, D = x_BXLD.shape[0], x_BXLD.shape[-1]
    x = x_BXLD.view(B, h // window, w // window, window, window, D)
    return x.transpose(2, 3).reshape(B, h, w, D)


def shift_mask(token_grid: tuple[int, int], window: int, shift: int) -> Tensor:
    """Additive mask [X, L, L] for tokens rolled by `shift`: rows from over the pole do not see the others.

    Longitude is left open: after the roll, tokens on both sides of Greenwich are true neighbors.
    """
    h, w = token_grid
    row_group = torch.zeros(h)
    row_group[h - shift :] = 1.0
    group = row_group[None, :, None, None].expand(1, h, w, 1)
    group_XL = to_windows(group, window)[0, :, :, 0]
    return torch.where(group_XL[:, :, None] == group_XL[:, None, :], 0.0, MASKED)


def rotary_table(length: int, head_size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [L, K/2] of 1-D rotary positions, base 10000."""
    frequency = 10000.0 ** (-torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn interleaved pairs of the last dimension by the table's angles, which broadcast; float32 at least."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2)


class WindowTables(NamedTuple):
    """What all blocks of a network share: rotary angles [L, 1, K/2] and the mask of shifted windows [B * X, 1, L, L].

    The mask is None where no block is shifted.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None


class Windows(nn.Module):
    """The one home of a network's window tables: at release size a mask takes 21 MB, and 24 blocks are shifted."""

    cos: Tensor
    sin: Tensor
    mask: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        window = config.window
        cos, sin = rotary_table(window * window, config.embedding // config.heads)
        shifted = config.block_shift and config.blocks_per_layer > 1
        mask = shift_mask(config.token_grid, window, config.block_shift)[:, None] if shifted else None
        self.register_buffer("cos", cos[:, None], persistent=False)
        self.register_buffer("sin", sin[:, None], persistent=False)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, batch: int) -> WindowTables:
        """Tables for a batch of this size, cast and repeated once for all blocks."""
        if self.mask is None:
            return WindowTables(self.cos, self.sin, None)
        mask = self.mask.to(attention_type(self.mask))
        return WindowTables(self.cos, self.sin, mask if batch == 1 else mask.repeat(batch, 1, 1, 1))


class WindowAttention(nn.Module):
    """Self-attention inside windows; `shift` > 0 first rolls the grid by that many tokens both ways."""

    def __init__(self, embedding: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.wq = nn.Linear(embedding, embedding, bias=False)
        self.wk = nn.Linear(embedding, embedding, bias=False)
        self.wv = nn.Linear(embedding, embedding, bias=False)
        self.wo = nn.Linear(embedding, embedding, bias=False)

    def forward(self, x_BhwD: Tensor, tables: WindowTables) -> Tensor:
        """[B, h, w, D] to the same shape."""
        B, h, w, _ = x_BhwD.shape
        x_BhwD = x_BhwD.to(product_type(x_BhwD))  # once, not for each of the three maps
        rolled = torch.roll(x_BhwD, (-self.shift, -self.shift), (1, 2)) if self.shift else x_BhwD
        window_XLD = to_windows(rolled, self.window).flatten(0, 1)
        q, k, v = (project(window_XLD).unflatten(-1, (self.heads, -1)) for project in (self.wq, self.wk, self.wv))
        q, k = rotate(q, tables.cos, tables.sin), rotate(k, tables.cos, tables.sin)
        mixed_XLAK = attend(q, k, v, tables.mask if self.shift else None)
        out_BXLD = self.wo(mixed_XLAK.flatten(2)).unflatten(0, (B, -1))
        out = from_windows(out_BXLD, (h, w), self.window)
        return torch.roll(out, (self.shift, self.shift), (1, 2)) if self.shift else out


def attend(q_XLAK: Tensor, k_XLAK: Tensor, v_XLAK: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention over the tokens of a window, [X, L, A, K], in `attention_type`."""
    # Four dimensions: with five, torch leaves its fused kernel and keeps every attention matrix for the gradient.
    q, k, v = (x.to(attention_type(x)).transpose(1, 2) for x in (q_XLAK, k_XLAK, v_XLAK))
    with no_autocast(q):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
