"""Windowed attention on the sphere's token grid: periodic in longitude, walled at the poles (model.md 2.2, 2.4).

Shape legend: B batch, h/w token rows and columns, D embedding, X windows, L tokens in a window, A heads, K head size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


def rotate(x: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    """Turn interleaved pairs of the last dimension of [..., L, K] by the table's angles, in float32."""
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    turned = torch.stack([even * cos_LK - odd * sin_LK, even * sin_LK + odd * cos_LK], dim=-1)
    return turned.flatten(-2).to(x.dtype)


class WindowAttention(nn.Module):
    """Self-attention inside windows; `shift` > 0 first rolls the grid by that many tokens both ways."""

    cos: Tensor
    sin: Tensor
    mask: Tensor | None

    def __init__(self, embedding: int, heads: int, token_grid: tuple[int, int], window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.token_grid, self.window, self.shift = heads, token_grid, window, shift
        self.wq = nn.Linear(embedding, embedding, bias=False)
        self.wk = nn.Linear(embedding, embedding, bias=False)
        self.wv = nn.Linear(embedding, embedding, bias=False)
        self.wo = nn.Linear(embedding, embedding, bias=False)
        cos, sin = rotary_table(window * window, embedding // heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        mask = shift_mask(token_grid, window, shift)[:, None] if shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x_BhwD: Tensor) -> Tensor:
        """[B, h, w, D] to the same shape."""
        rolled = torch.roll(x_BhwD, (-self.shift, -self.shift), (1, 2)) if self.shift else x_BhwD
        window_BXLD = to_windows(rolled, self.window)
        q, k, v = (self._split(project(window_BXLD)) for project in (self.wq, self.wk, self.wv))
        q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        mask = None if self.mask is None else self.mask.to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = from_windows(self.wo(mixed.transpose(2, 3).flatten(3)), self.token_grid, self.window)
        return torch.roll(out, (self.shift, self.shift), (1, 2)) if self.shift else out

    def _split(self, x_BXLD: Tensor) -> Tensor:
        """[B, X, L, D] to [B, X, A, L, K]."""
        B, X, L, D = x_BXLD.shape
        return x_BXLD.view(B, X, L, self.heads, D // self.heads).transpose(2, 3)
