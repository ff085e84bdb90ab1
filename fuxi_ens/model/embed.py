"""Into tokens and out of them: patches of frames and static fields, clock scalars (model.md 2.3 to 2.5).

Shape legend: B batch, C channels, H latitude, W longitude, h/w token rows and columns, D embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.norm import LayerNorm
from fuxi_ens.model.precision import no_autocast
from fuxi_ens.times import HISTORY

STATIC_FIELDS = 6
_FREQUENCIES = 128


class PatchEmbed(nn.Module):
    """Frames and static fields each through their own patch convolution, summed and normed.

    Rows that fill no whole patch are dropped, as the release drops the South Pole.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, patch = config.embedding, config.patch
        self.input_proj = nn.Conv2d(HISTORY * len(config.channels), width, patch, patch)
        self.const_proj = nn.Conv2d(STATIC_FIELDS, width, patch, patch)
        self.norm = LayerNorm(config, scaled=True)

    def forward(self, x_BCHW: Tensor, const_CHW: Tensor) -> Tensor:
        """[B, C, H, W] and [6, H, W] to tokens [B, h, w, D]."""
        token_BDhw = self.input_proj(x_BCHW) + self.const_proj(const_CHW[None])
        # The residual stream starts here and stays float32; only matrix products run in the autocast type.
        with no_autocast(token_BDhw):
            out: Tensor = self.norm(token_BDhw.permute(0, 2, 3, 1))
        return out


class ScalarEmbed(nn.Module):
    """One clock scalar as sines and cosines of value * 10000^(-i/128), through a two-layer MLP."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * _FREQUENCIES, embedding), nn.SiLU(), nn.Linear(embedding, embedding))

    def forward(self, value_B: Tensor) -> Tensor:
        """[B] to [B, D]."""
        exponent = torch.arange(_FREQUENCIES, device=value_B.device, dtype=torch.float32) / _FREQUENCIES
        angle = value_B[:, None] * 10000.0 ** (-exponent)
        out: Tensor = self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))
        return out


class PatchHead(nn.ConvTranspose2d):
    """Tokens back to a field: a transposed convolution whose kernel equals its stride.

    It starts at zero, so that an untrained network predicts no perturbation and no increment.
    """

    def __init__(self, embedding: int, out_channels: int, patch: int) -> None:
        super().__init__(embedding, out_channels, patch, patch)

    def reset_parameters(self) -> None:
        """Zero weight and bias."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def field(self, token_BhwD: Tensor, height: int) -> Tensor:
        """[B, h, w, D] to [B, C, height, W]; rows beyond the last token row hold the bias (model.md 2.5)."""
        token_BDhw = token_BhwD.permute(0, 3, 1, 2)
        rows = (height + self.kernel_size[0] - 1) // self.kernel_size[0]
        if rows > token_BDhw.shape[2]:
            token_BDhw = F.pad(token_BDhw, (0, 0, 0, rows - token_BDhw.shape[2]))
        # float32: eight bits of a full field would be coarser than what it changes in 6 h.
        with no_autocast(token_BDhw):
            out: Tensor = self(token_BDhw.float())
        return out[:, :, :height]
