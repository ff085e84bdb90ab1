"""Low-rank-plus-diagonal Gaussian over the perturbation, always in float32: covariance diag(sigma^2) + U U^T.

The R patterns in U are smooth: they live on the token grid and are interpolated to the grid of the frames. They span
all channels and the whole globe, and a member scales each by one number, as in FuXi-S2S: noise with structure, where
the diagonal alone is white.

Shape legend: B batch, R patterns, T history frames, C channels, L = T * C latent channels, H latitude, W longitude,
h/w token rows and columns.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fuxi_ens.model.gaussian import DiagonalGaussian
from fuxi_ens.model.precision import no_autocast

CHUNK = 1 << 24
"""Elements of interpolated patterns that exist at a time while a KL is summed up."""


class Interpolation(NamedTuple):
    """Weights of the tokens at each row and column of the frame: bilinear, periodic in longitude."""

    row_Hh: Tensor
    column_Ww: Tensor

    def __call__(self, coarse: Tensor) -> Tensor:
        """[..., h, w] to [..., H, W]. Matrix products: what torch interpolates with has no reproducible gradient."""
        with no_autocast(coarse):
            return self.row_Hh @ (coarse @ self.column_Ww.T)


@dataclass(frozen=True, slots=True)
class LowRankGaussian:
    """Normal with a diagonal part, `logvar` its log-variance, and `pattern_BRLhw` on the token grid."""

    mean: Tensor
    logvar: Tensor
    pattern_BRLhw: Tensor
    to_grid: Interpolation

    def sample(self, eps: Tensor, xi: Tensor | None) -> Tensor:
        """Reparameterized draw mean + sigma * eps + U xi; `eps` [B, T, C, H, W] and `xi` [B, R] standard normal."""
        assert xi is not None, "patterns need an amplitude per member"
        # Interpolation is linear: one field per member, never R.
        smooth = self.to_grid((xi[:, :, None, None, None] * self.pattern_BRLhw).sum(1))
        return self.mean + torch.exp(0.5 * self.logvar) * eps + smooth.view(self.mean.shape)

    def marginal(self) -> DiagonalGaussian:
        """The distribution of every element by itself."""
        variance = self.logvar.exp()
        for pattern_BLhw in self.pattern_BRLhw.unbind(1):
            variance = variance + self.to_grid(pattern_BLhw).square().view(variance.shape)
        return DiagonalGaussian(self.mean, variance.log())

    def repeat(self, copies: int) -> "LowRankGaussian":
        """Each entry of the batch `copies` times in place."""
        if copies == 1:
            return self
        mean, logvar, pattern = (
            t.repeat_interleave(copies, dim=0) for t in (self.mean, self.logvar, self.pattern_BRLhw)
        )
        return LowRankGaussian(mean, logvar, pattern, self.to_grid)


class _Sums(NamedTuple):
    """Sums over elements of what a KL needs; D the diagonal part, U the patterns, d = mean of q - mean of p."""

    elements_B: Tensor
    """log D_p - log D_q + (D_q + d^2 + |U_q|^2) / D_p - 1."""
    pp_BRR: Tensor
    """U_p D_p^-1 U_p, and so on below."""
    pq_BRR: Tensor
    qq_BRR: Tensor
    """U_q D_q^-1 U_q."""
    pqp_BRR: Tensor
    """U_p D_p^-1 D_q D_p^-1 U_p."""
    shift_BR: Tensor
    """U_p D_p^-1 d."""


def low_rank_kl(q: LowRankGaussian, p: LowRankGaussian, mask: Tensor) -> Tensor:
    """KL(q || p) in nats [B], of all elements where `mask` (broadcastable to the mean) is 1, jointly.

    Only R x R matrices are inverted (Woodbury identity, determinant lemma); what grows with the number of elements are
    sums. On large grids they are taken over a few latent channels at a time and taken again for the gradient, so that
    memory does not hold R interpolated fields per channel.
    """
    with torch.autocast(q.mean.device.type, enabled=False):
        s = _Sums(*(part.double() for part in _all_sums(q, p, mask)))
    unit = torch.eye(s.pp_BRR.shape[-1], dtype=torch.float64, device=s.pp_BRR.device)
    root_p, root_q = torch.linalg.cholesky(unit + s.pp_BRR), torch.linalg.cholesky(unit + s.qq_BRR)
    log_det = _log_det(root_p) - _log_det(root_q)
    # What the patterns of p explain no longer counts against its diagonal.
    explained = torch.cholesky_solve(s.pqp_BRR, root_p).diagonal(dim1=-2, dim2=-1).sum(-1)
    for part in (s.pq_BRR, s.shift_BR[..., None]):
        explained = explained + torch.linalg.solve_triangular(root_p, part, upper=False).square().sum((-2, -1))
    return (0.5 * (s.elements_B + log_det - explained)).to(q.mean.dtype)


def _log_det(root: Tensor) -> Tensor:
    return 2.0 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _all_sums(q: LowRankGaussian, p: LowRankGaussian, mask: Tensor) -> _Sums:
    fields = (q.mean, q.logvar, p.mean, p.logvar, mask.expand_as(q.mean))
    mean_q, logvar_q, mean_p, logvar_p, weight = (field.flatten(1, 2) for field in fields)
    pattern_q, pattern_p = q.pattern_BRLhw, p.pattern_BRLhw

    def part(c: slice) -> _Sums:
        return _sums(
            mean_q[:, c], logvar_q[:, c], mean_p[:, c], logvar_p[:, c], weight[:, c],
            pattern_q[:, :, c], pattern_p[:, :, c], q.to_grid,
        )  # fmt: skip

    batch, rank, latent = pattern_q.shape[:3]
    size = max(1, CHUNK // (batch * rank * mean_q[0, 0].numel()))
    if size >= latent:
        return part(slice(None))
    parts = [
        checkpoint(part, slice(first, first + size), use_reentrant=False, preserve_rng_state=False)
        for first in range(0, latent, size)
    ]
    return _Sums(*(torch.stack(terms).sum(0) for terms in zip(*parts, strict=True)))


def _sums(
    mean_q: Tensor,
    logvar_q: Tensor,
    mean_p: Tensor,
    logvar_p: Tensor,
    mask: Tensor,
    pattern_q: Tensor,
    pattern_p: Tensor,
    to_grid: Interpolation,
) -> _Sums:
    """The sums over some latent channels; fields [B, L, H, W], patterns [B, R, L, h, w]."""
    over_p = mask * torch.exp(-0.5 * logvar_p)
    u_p, u_q = to_grid(pattern_p) * over_p[:, None], to_grid(pattern_q) * mask[:, None]
    shift, ratio = (mean_q - mean_p) * over_p, torch.exp(0.5 * (logvar_q - logvar_p))
    elements = mask * (logvar_p - logvar_q + ratio.square() - 1.0) + shift.square()
    u_p, u_q_over_p = u_p.flatten(2), (u_q * over_p[:, None]).flatten(2)
    u_q = (u_q * torch.exp(-0.5 * logvar_q)[:, None]).flatten(2)
    u_pqp = u_p * ratio.flatten(1)[:, None]
    return _Sums(
        elements.sum((1, 2, 3)) + u_q_over_p.square().sum((1, 2)),
        u_p @ u_p.mT,
        u_p @ u_q_over_p.mT,
        u_q @ u_q.mT,
        u_pqp @ u_pqp.mT,
        (u_p @ shift.flatten(1)[..., None])[..., 0],
    )
