"""Diagonal Gaussian over the perturbation: sampling and closed-form KL, always in float32.

Shape legend: any shape `...`, equal for mean and logvar.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class DiagonalGaussian:
    """Independent normal per element; `logvar` is the natural log of the variance."""

    mean: Tensor
    logvar: Tensor

    @classmethod
    def clamped(cls, mean: Tensor, logvar: Tensor, bounds: tuple[float, float] | None) -> "DiagonalGaussian":
        """Cast to float32 and keep the log-variance within `bounds`, which bfloat16 training needs (model.md 3.1)."""
        logvar = logvar.float()
        return cls(mean.float(), logvar if bounds is None else logvar.clamp(*bounds))

    def sample(self, eps: Tensor, xi: Tensor | None = None) -> Tensor:
        """Reparameterized draw mean + sigma * eps; `eps` is standard normal and broadcasts against the mean."""
        assert xi is None, "a diagonal covariance has no patterns to scale"
        return self.mean + torch.exp(0.5 * self.logvar) * eps

    def marginal(self) -> "DiagonalGaussian":
        """The distribution of every element by itself."""
        return self

    def repeat(self, copies: int) -> "DiagonalGaussian":
        """Each entry of the batch `copies` times in place."""
        if copies == 1:
            return self
        return DiagonalGaussian(*(t.repeat_interleave(copies, dim=0) for t in (self.mean, self.logvar)))


def kl_divergence(q: DiagonalGaussian, p: DiagonalGaussian) -> Tensor:
    """KL(q || p) in nats per element, no reduction (model.md 3.1)."""
    ratio = torch.exp(q.logvar - p.logvar)
    shift = (q.mean - p.mean).square() * torch.exp(-p.logvar)
    return 0.5 * (p.logvar - q.logvar + ratio + shift - 1.0)
