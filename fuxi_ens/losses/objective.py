"""Means over points: area weights, channel weights and missing values are applied here and nowhere else.

Shape legend: B batch, C channels, H latitude, W longitude.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the points of a frame."""

    area_H: Tensor
    """Relative cell area, mean 1."""
    channel_C: Tensor
    """Relative importance of the channels, mean 1."""


@dataclass(frozen=True, slots=True)
class ObjectiveTerms:
    """What an iteration minimized, and its parts; all are logged."""

    total: Tensor
    error: Tensor
    """CRPS or absolute error, weighted mean in standardized units."""
    kl: Tensor
    """Mean KL per element in nats; 0 for a deterministic stage."""
    kl_penalty: Tensor
    """What `kl_weight` multiplies: `kl`, or what free bits make of it."""
    kl_weight: float
    error_C: Tensor
    """`error` per channel without the channel weights."""
    monitors: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)
    """Diagnostics of the distributions and of the ensemble; only where they were asked for."""

    def detach(self) -> "ObjectiveTerms":
        """The same numbers without the graph."""
        tensors: dict[str, Any] = {name: getattr(self, name).detach() for name in _TENSORS}
        return replace(self, **tensors)

    def record(self, channels: tuple[str, ...]) -> dict[str, float | Mapping[str, float]]:
        """All terms and monitors as numbers by name."""
        scalars = {"loss": self.total, "error": self.error, "kl": self.kl, "kl_penalty": self.kl_penalty}
        errors = dict(zip(channels, self.error_C.tolist(), strict=True))
        return {
            **{name: value.item() for name, value in scalars.items()},
            "kl_weight": self.kl_weight,
            "error_channels": errors,
            **self.monitors,
        }


_TENSORS = ("total", "error", "kl", "kl_penalty", "error_C")


def mean_terms(terms: Sequence[ObjectiveTerms]) -> ObjectiveTerms:
    """Of batches of equal size whose gradients are averaged; monitors are those of the last one."""
    if len(terms) == 1:
        return terms[0]
    means: dict[str, Any] = {n: torch.stack([getattr(term, n) for term in terms]).mean(0) for n in _TENSORS}
    return replace(terms[-1], **means)


def channel_means(score_BCHW: Tensor, valid_BCHW: Tensor, area_H: Tensor) -> Tensor:
    """Area-weighted mean per channel [C] over the valid points, those where there is a truth.

    A score that is not finite at a valid point makes the channel's mean not finite: a diverging member must not pass
    for a missing value. A channel without any valid point scores 0.
    """
    weight = area_H[:, None] * valid_BCHW
    total = (torch.where(valid_BCHW, score_BCHW, 0.0) * weight).sum((0, 2, 3))
    return total / weight.sum((0, 2, 3)).clamp(min=1e-12)


def weighted_error(error_C: Tensor, weights: Weights) -> Tensor:
    """Mean of the per-channel errors under the channel weights."""
    return (error_C * weights.channel_C).mean()


def masked_mean(value_BTCHW: Tensor, mask: Tensor) -> Tensor:
    """Mean over the elements where `mask` (broadcastable) is 1."""
    weight = mask.expand_as(value_BTCHW)
    return (value_BTCHW * weight).sum() / weight.sum().clamp(min=1.0)
