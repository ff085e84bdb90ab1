"""The KL between posterior and prior as an objective: direction, mask, free bits (model.md 3.1).

Shape legend: B batch, T history frames, C channels, H latitude, W longitude.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fuxi_ens.config import StageConfig
from fuxi_ens.losses.objective import masked_mean
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.gaussian import DiagonalGaussian, kl_divergence
from fuxi_ens.model.latent import Latent
from fuxi_ens.model.low_rank import LowRankGaussian, low_rank_kl


class Divergence(NamedTuple):
    """Nats per element that counts."""

    mean: Tensor
    penalty: Tensor
    """The mean with what is free lifted to the free amount, where it has no slope."""


def divergence(q: Latent, p: Latent, mask: Tensor, stage: StageConfig) -> Divergence:
    """KL in the direction of the stage over the elements where `mask` (broadcastable) is 1."""
    first, second = (q, p) if stage.kl_direction == "q_p" else (p, q)
    if isinstance(first, LowRankGaussian) and isinstance(second, LowRankGaussian):
        # Patterns tie all elements together: one group.
        mean = low_rank_kl(first, second, mask).sum() / _count(mask, first.mean)
        return Divergence(mean, mean.clamp(min=stage.kl_free_nats))
    assert isinstance(first, DiagonalGaussian), "P and Q have one kind of covariance"
    assert isinstance(second, DiagonalGaussian), "P and Q have one kind of covariance"
    field_BTCHW = kl_divergence(first, second)
    mean = masked_mean(field_BTCHW, mask)
    if stage.kl_free_nats == 0.0:
        return Divergence(mean, mean)
    kl_TC, count_TC = channel_kl(field_BTCHW, mask)
    lifted = (kl_TC.clamp(min=stage.kl_free_nats) * count_TC).sum() / count_TC.sum().clamp(min=1.0)
    return Divergence(mean, lifted)


def latent_mask(model: FuxiEns, truth_BCHW: Tensor) -> Tensor:
    """Elements of the latent that can reach the output, [B, 1, C, H, W].

    Not the accumulations, not the points without truth, not the rows that fill no whole patch.
    """
    mask_BCHW = torch.isfinite(truth_BCHW) * model.input_mask
    mask_BCHW[:, :, model.config.token_grid[0] * model.config.patch :] = 0.0
    return mask_BCHW[:, None]


def channel_kl(field_BTCHW: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over batch and points for each latent channel [T, C], 0 where nothing counts, and the number that counts."""
    weight = mask.expand_as(field_BTCHW)
    count_TC = weight.sum((0, 3, 4))
    return (field_BTCHW * weight).sum((0, 3, 4)) / count_TC.clamp(min=1.0), count_TC


def _count(mask: Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(mask.expand_as(like).sum()).clamp(min=1.0)
