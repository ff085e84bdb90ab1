"""The kernel under the CRPS: every pair of members compared, tile by tile, with a gradient of its own.

With e_m = x_m - y, s_m = sign(e_m) and r_m = sum_n sign(x_m - x_n), the score is linear in the errors:

    mean_m |e_m| - c sum_mn |x_m - x_n| = sum_m (s_m / M - 2 c r_m) e_m

and the factor of e_m is its derivative by x_m, 0 between equals. Only 4 r_m + s_m waits for the backward pass: one byte
per member and point up to 32 members. Up to several hundred members all pairs take less time than a sort.

Shape legend: O outer points, M members, I inner points.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_TILE = 1 << 17
"""Elements of a tile: its float32 copies stay in the cache of a core. One launch on a GPU takes 64 times as many."""


class PairScore(torch.autograd.Function):
    """Skill minus pair spread of `ensemble_OMI` against `target_OI`, in float32 or wider."""

    @staticmethod
    def forward(ctx: Any, ensemble_OMI: Tensor, target_OI: Tensor, factor: float) -> Tensor:
        """`factor` is c; what the backward pass needs is kept only if somebody will ask for it."""
        members = ensemble_OMI.shape[1]
        dtype = _working_type(ensemble_OMI, target_OI)
        score_OI = torch.empty(target_OI.shape, dtype=dtype, device=target_OI.device)
        signs_OMI = torch.empty(0)
        if any(ctx.needs_input_grad):
            signs_OMI = torch.empty(ensemble_OMI.shape, dtype=_sign_type(members), device=target_OI.device)
        for o, i in _tiles(ensemble_OMI):
            x = ensemble_OMI[o, :, i].to(dtype)
            error = x - target_OI[o, None, i].to(dtype)
            side, rank = error.sign(), _pair_signs(x)
            if any(ctx.needs_input_grad):
                signs_OMI[o, :, i] = torch.add(side, rank, alpha=4)
            slope = side.mul_(1.0 / members).sub_(rank, alpha=2.0 * factor)
            score_OI[o, i] = error.mul_(slope).sum(1)
        ctx.save_for_backward(signs_OMI)
        ctx.factor, ctx.types = factor, (ensemble_OMI.dtype, target_OI.dtype)
        return score_OI

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_OI: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Slopes from the saved signs, times the incoming gradient."""
        (signs_OMI,) = ctx.saved_tensors
        members = signs_OMI.shape[1]
        to_ensemble, to_target, _ = ctx.needs_input_grad
        ensemble = torch.empty(signs_OMI.shape, dtype=ctx.types[0], device=grad_OI.device) if to_ensemble else None
        target = torch.empty(grad_OI.shape, dtype=ctx.types[1], device=grad_OI.device) if to_target else None
        for o, i in _tiles(signs_OMI):
            code, grad = signs_OMI[o, :, i], grad_OI[o, i]
            rank = (code + 1).bitwise_right_shift_(2)
            side = code.sub(rank, alpha=4)
            if target is not None:
                target[o, i] = side.sum(1).to(grad.dtype).mul_(-1.0 / members).mul_(grad)
            if ensemble is not None:
                slope = side.to(grad.dtype).mul_(1.0 / members).sub_(rank, alpha=2.0 * ctx.factor)
                ensemble[o, :, i] = slope.mul_(grad[:, None])
        return ensemble, target, None


def _pair_signs(x_OMI: Tensor) -> Tensor:
    """Members below minus members above, for each member."""
    members = x_OMI.shape[1]
    rank = torch.zeros_like(x_OMI)
    for k in range(1, members):
        sign = torch.sub(x_OMI[:, k:], x_OMI[:, : members - k]).sign_()
        rank[:, k:].add_(sign)
        rank[:, : members - k].sub_(sign)
    return rank


def _tiles(like_OMI: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of outer and inner points that cover all of them. A compiler fuses the whole and needs one tile."""
    outer, members, inner = like_OMI.shape
    if torch.compiler.is_compiling():
        yield slice(0, outer), slice(0, inner)
        return
    points = max(1, (_TILE if like_OMI.device.type == "cpu" else 64 * _TILE) // members)
    wide = min(inner, points)
    high = points // wide if wide else 1
    for o in range(0, outer, high):
        for i in range(0, inner, wide):
            yield slice(o, o + high), slice(i, i + wide)


def _working_type(ensemble: Tensor, target: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(ensemble.dtype, target.dtype), torch.float32)


def _sign_type(members: int) -> torch.dtype:
    """The smallest integer that holds 4 * rank + side."""
    return next(t for t in (torch.int8, torch.int16, torch.int32) if 4 * members - 3 <= torch.iinfo(t).max)
