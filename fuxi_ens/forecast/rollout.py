"""One ensemble from one init time, lead time by lead time. Holds the state of all members, never the whole forecast.

Shape legend: M members, T = 2 history frames, C channels, H latitude, W longitude.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fuxi_ens.checkpoint import LeadModels
from fuxi_ens.data.era5 import Frames
from fuxi_ens.errors import UserError
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.block import seeded_dropout
from fuxi_ens.model.latent import draw
from fuxi_ens.model.noise import Noise, Stream
from fuxi_ens.times import clock, label, lead_times

_MEMBER_STREAM = 4
_EPOCH = np.datetime64("1800-01-01", "ns")
"""Before any analysis, so that the minutes since are positive."""


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """What decides the bits of a forecast beside the model and the initial frames."""

    seed: int
    members: int
    steps: int
    members_per_batch: int
    step_size: np.timedelta64
    first_member: int = 0
    """Number of the first of the `members`; a multiple of members_per_batch, so that batches hold the same members."""


def member_stream(seed: int, init_time: np.datetime64, number: int, step: int, device: torch.device) -> Stream:
    """The random stream of one member at one step: a function of these four alone, whatever else is computed."""
    minutes = int((init_time - _EPOCH) / np.timedelta64(1, "m"))
    return Stream([seed, _MEMBER_STREAM, minutes, number, step], device)


@torch.no_grad()
def rollout(
    models: LeadModels, history_TCHW: Frames, init_time: np.datetime64, settings: EnsembleSettings
) -> Iterator[tuple[np.timedelta64, Frames]]:
    """Yield (lead_time, ens_MCHW) in model units for each step; lead outer, members inner.

    A forecast stage takes over the states as they are, of all members at once. The clock goes on counting steps from
    init_time: a later stage is trained at the steps that it makes, and its step embedding knows those. Raises UserError
    when a member stops being finite, naming member, channel and lead time.
    """
    start = torch.from_numpy(history_TCHW).to(models.device)
    states = [start.expand(len(block), *start.shape) for block in _blocks(settings)]
    missing = torch.isnan(start[-1])
    for step, lead_time in enumerate(lead_times(settings.step_size, settings.steps)):
        model = models.at(lead_time)
        for b, numbers in enumerate(_blocks(settings)):
            states[b] = _advance(model, states[b], init_time, numbers, step, settings)
        newest = torch.cat([state[:, -1] for state in states])[: settings.members]
        _refuse_non_finite(newest, missing, models.channels, init_time, lead_time, settings.first_member)
        yield lead_time, newest.cpu().numpy()


def _blocks(settings: EnsembleSettings) -> list[range]:
    """Members in blocks of one fixed size: matrix products round differently for other batch sizes.

    The last block is filled up with members that are computed and dropped.
    """
    size = settings.members_per_batch
    end = settings.first_member + settings.members
    return [range(first, first + size) for first in range(settings.first_member, end, size)]


def _advance(
    model: FuxiEns,
    state_MTCHW: Tensor,
    init_time: np.datetime64,
    numbers: Sequence[int],
    step: int,
    settings: EnsembleSettings,
) -> Tensor:
    device = state_MTCHW.device
    noise = Noise([member_stream(settings.seed, init_time, n, step, device) for n in numbers])
    newest = np.repeat(init_time + step * settings.step_size, len(numbers))
    clock_B3 = torch.from_numpy(clock(newest, step)).to(device)
    dropout = seeded_dropout(model.config.dropout, noise)
    eps, xi = draw(noise, state_MTCHW.shape, model.config.patterns)
    return model.step(state_MTCHW, clock_B3, eps, dropout, xi)


def _refuse_non_finite(
    newest_MCHW: Tensor,
    missing_CHW: Tensor,
    channels: tuple[str, ...],
    init_time: np.datetime64,
    lead_time: np.timedelta64,
    first_member: int,
) -> None:
    bad = ~(torch.isfinite(newest_MCHW) | missing_CHW).all(dim=(2, 3))
    if not bad.any():
        return
    member, channel = (int(i) for i in bad.nonzero()[0])
    raise UserError(
        f"member {first_member + member} of the forecast from {label(init_time)} is not finite in {channels[channel]} "
        f"at lead time {lead_time.astype('timedelta64[h]')}; the model is unstable, nothing of this init time was "
        "marked complete"
    )
