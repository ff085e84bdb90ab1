"""The members of a sample that are divided among ranks, brought together for a score of the whole ensemble.

Shape legend: B init times, M members, C channels, H latitude, W longitude.
"""

from typing import Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx

Gradients = Literal["local", "all"]


def gathered(ens_BMCHW: Tensor, group: dist.ProcessGroup | None, gradients: Gradients) -> Tensor:
    """All members of the group in the order of its ranks, on every rank of it; `ens_BMCHW` itself without a group.

    Every rank computes the same score of the whole ensemble, and gradients are averaged over all ranks afterwards, so
    the gradient that comes back is multiplied by the number of ranks: once by hand (`local`: each rank differentiates
    its own members), or by summing the equal gradients of all ranks (`all`).
    """
    if group is None:
        return ens_BMCHW
    return cast("Tensor", _Gather.apply(ens_BMCHW, group, gradients))  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, ens_BMCHW: Tensor, group: dist.ProcessGroup, gradients: Gradients) -> Tensor:
        ctx.group, ctx.gradients, ctx.members = group, gradients, ens_BMCHW.shape[1]  # type: ignore[attr-defined]
        own = ens_BMCHW.contiguous()
        parts = [torch.empty_like(own) for _ in range(group.size())]
        dist.all_gather(parts, own, group=group)
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None, None]:
        group, members = ctx.group, ctx.members  # type: ignore[attr-defined]
        (grad_BMCHW,) = grads
        own = slice(group.rank() * members, (group.rank() + 1) * members)
        if ctx.gradients == "local":  # type: ignore[attr-defined]
            return grad_BMCHW[:, own] * group.size(), None, None
        summed = grad_BMCHW.contiguous()
        dist.all_reduce(summed, group=group)
        return summed[:, own], None, None
