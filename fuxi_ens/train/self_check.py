"""Before a stage spends anything: do the ranks train one network on the samples and with the noise they should?"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from fuxi_ens.data.loader import Batch
from fuxi_ens.errors import UserError
from fuxi_ens.times import label
from fuxi_ens.train.ranks import Ranks


class _Report(NamedTuple):
    """What one rank tells the others."""

    group: int
    weights: tuple[int, int] | None
    sample: tuple[str, ...]
    content: float
    noise: tuple[float, ...]


def check_ranks(ranks: Ranks, network: nn.Module, batch: Batch, noise: Tensor, *, distinct: bool) -> None:
    """Compare all ranks; `noise` holds the first random numbers of each of this rank's streams.

    Raises UserError on every rank: ranks of a group must have one sample, groups distinct ones (if `distinct`, that is
    within an epoch), streams must differ, and weights that are not sharded must be equal.
    """
    sample = tuple(label(time) for time in batch.init_time)
    content = float(torch.nan_to_num(batch.frames_BTCHW).double().sum())
    own = _Report(ranks.place.group, _weights(network), sample, content, tuple(noise.tolist()))
    reports = ranks.gather(own)
    complaint = _weights_differ(reports) or _samples_wrong(reports, distinct=distinct) or _noise_repeats(reports)
    if complaint:
        raise UserError(f"the ranks do not train together as they should: {complaint}; nothing was trained")


def _weights(network: nn.Module) -> tuple[int, int] | None:
    """Two sums over the bits of all weights, exact in any order; None for shards, which differ by design."""
    parameters = list(network.parameters())
    if any(isinstance(p, DTensor) for p in parameters):
        return None
    bits = [p.detach().view(torch.int32).flatten() for p in parameters]
    places = [torch.arange(len(b), device=b.device) % 8191 + 1 for b in bits]
    plain = sum(int(b.sum(dtype=torch.int64)) for b in bits)
    weighted = sum(int((b.to(torch.int64) * at).sum()) for b, at in zip(bits, places, strict=True))
    return plain, weighted


def _weights_differ(reports: list[_Report]) -> str:
    different = [rank for rank, report in enumerate(reports) if report.weights != reports[0].weights]
    return f"weights of the ranks {different} are not those of rank 0" if different else ""


def _samples_wrong(reports: list[_Report], *, distinct: bool) -> str:
    groups: dict[int, _Report] = {}
    for rank, report in enumerate(reports):
        first = groups.setdefault(report.group, report)
        if (report.sample, report.content) != (first.sample, first.content):
            return f"rank {rank} of group {report.group} has {report.sample}, its group has {first.sample}"
    samples = [report.sample for report in groups.values()]
    if distinct and len(set(samples)) < len(samples):
        return f"several groups have the same samples: {samples}"
    return ""


def _noise_repeats(reports: list[_Report]) -> str:
    drawn = [number for report in reports for number in report.noise]
    return "two members draw the same random numbers" if len(set(drawn)) < len(drawn) else ""
