"""Which distribution the perturbation has: the choice of the config, in one place.

Shape legend: B batch, R patterns, L latent channels, D embedding, H latitude, W longitude, h/w token rows and columns.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.gaussian import DiagonalGaussian
from fuxi_ens.model.low_rank import Interpolation, LowRankGaussian
from fuxi_ens.model.noise import Noise
from fuxi_ens.model.precision import no_autocast
from fuxi_ens.times import HISTORY

Latent = DiagonalGaussian | LowRankGaussian

_FIRST_SIZE = 0.1
"""Standard deviation that the patterns of an untrained network give, in units of the diagonal's."""


class PatternHead(nn.Module):
    """Tokens to the patterns of a low-rank covariance.

    The weight starts at zero, the bias at waves over the latent channels: the same in P and Q, whose KL then starts at
    0, but not zero, where patterns would have no slope.
    """

    row_Hh: Tensor
    column_Ww: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.shape = (config.patterns, HISTORY * len(config.channels))
        self.linear = nn.Linear(config.embedding, math.prod(self.shape))
        size = _FIRST_SIZE * math.exp(0.5 * config.initial_logvar)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.bias.copy_(size * _waves(*self.shape).flatten())
        rows, columns = config.token_grid
        self.register_buffer("row_Hh", token_weights(config.height, rows, config.patch, wrap=False), persistent=False)
        self.register_buffer(
            "column_Ww", token_weights(config.width, columns, config.patch, wrap=True), persistent=False
        )

    def forward(self, token_BhwD: Tensor) -> tuple[Tensor, Interpolation]:
        """[B, h, w, D] to patterns [B, R, L, h, w] and the way from there to the grid."""
        with no_autocast(token_BhwD):
            pattern_BhwRL = self.linear(token_BhwD.float()).unflatten(-1, self.shape)
        return pattern_BhwRL.permute(0, 3, 4, 1, 2).contiguous(), Interpolation(self.row_Hh, self.column_Ww)


def token_weights(points: int, tokens: int, patch: int, *, wrap: bool) -> Tensor:
    """Linear interpolation from token centers to grid points, [points, tokens].

    With `wrap` the first token follows the last; without, points beyond the outer centers take the outer token's value.
    """
    place = (torch.arange(points) + 0.5) / patch - 0.5
    place = place if wrap else place.clamp(0.0, tokens - 1.0)
    left = place.floor()
    share = place - left
    weights = torch.zeros(points, tokens)
    for token, weight in ((left, 1.0 - share), (left + 1.0, share)):
        token = token % tokens if wrap else token.clamp(max=tokens - 1.0)
        weights.scatter_add_(1, token.long()[:, None], weight[:, None])
    return weights


def draw(noise: Noise, shape: Sequence[int], patterns: int) -> tuple[Tensor, Tensor | None]:
    """What a perturbation [B, T, C, H, W] is sampled from: eps, and amplitudes xi [B, R] if it has patterns."""
    eps = noise.normal(shape)
    return eps, noise.normal((shape[0], patterns)) if patterns else None


def _waves(patterns: int, latent: int) -> Tensor:
    """Cosines over the latent channels, orthogonal for distinct patterns; squares sum to 1 per channel on average."""
    k, c = torch.arange(patterns)[:, None], torch.arange(latent)[None]
    return math.sqrt(2.0 / patterns) * torch.cos(torch.pi * (c + 0.5) * (k + 1.0) / latent)
