"""One ensemble from one init time, lead time by lead time. Holds the state of all members, never the whole forecast.

Shape legend: M members, B members of a batch, T = 2 history frames, C channels, H latitude, W longitude.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuxi_ens.checkpoint import LeadModels
from fuxi_ens.config import Precision
from fuxi_ens.data.era5 import Frames
from fuxi_ens.forecast.draws import Draws
from fuxi_ens.forecast.guard import Guard
from fuxi_ens.forecast.handover import Handover, copy_stream
from fuxi_ens.forecast.noise_ahead import BatchNoise, NoiseMaker, noise_ahead
from fuxi_ens.forecast.seats import seat
from fuxi_ens.model import FuxiEns
from fuxi_ens.times import clock, lead_times


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """What decides the bits of a forecast beside the model and the initial frames."""

    draws: Draws
    control: bool
    """Whether number 0 is the control member, and the perturbed members begin at 1."""
    steps: int
    members_per_batch: int
    step_size: np.timedelta64
    precision: Precision

    @property
    def numbers(self) -> range:
        """Numbers of all members of the ensemble."""
        return range(self.draws.members + self.control)


@torch.no_grad()
def rollout(
    models: LeadModels,
    history_TCHW: Frames,
    init_time: np.datetime64,
    settings: EnsembleSettings,
    guard: Guard,
    numbers: Sequence[int] | None = None,
) -> Iterator[tuple[np.timedelta64, Frames]]:
    """Yield (lead_time, ens_MCHW) in model units for each step; lead outer, members inner.

    `numbers` are the members that are wanted, in the order of M; None wants all. A forecast stage takes over the
    states as they are, of all members at once. The clock goes on counting steps from init_time: a later stage is
    trained at the steps that it makes, and its step embedding knows those. A GPU is one step ahead of what is yielded.
    Frames are the caller's to keep. Members that `guard` stops are NaN from then on, or it raises UserError.
    """
    wanted = np.array(settings.numbers if numbers is None else numbers)
    start = torch.from_numpy(history_TCHW).to(models.device)
    batches = seat(wanted.tolist(), settings.members_per_batch, control=settings.control)
    states = [start.expand(len(batch.indices), *start.shape) for batch in batches]
    missing_CHW = torch.isnan(start[-1])
    missing_on_host = np.isnan(history_TCHW[-1])
    copies = copy_stream(models.device)
    under_way: list[tuple[np.timedelta64, Handover]] = []

    def arrived() -> tuple[np.timedelta64, Frames]:
        lead_time, handover = under_way.pop(0)
        frames, extremes = handover.wait()
        guard.inspect(init_time, lead_time, wanted, extremes, frames, missing_on_host)
        return lead_time, frames

    maker = NoiseMaker(settings.draws, models.first.model.config, init_time, models.device)
    noise = noise_ahead(maker, settings.steps, batches)
    for step, lead_time in enumerate(lead_times(settings.step_size, settings.steps)):
        model = models.at(lead_time)
        now = init_time + step * settings.step_size
        handover = Handover((len(wanted), *start.shape[1:]), models.device, copies)
        for b, batch in enumerate(batches):
            states[b] = _advance(
                model, states[b], clock(np.repeat(now, len(batch.indices)), step), next(noise), settings
            )
            newest = states[b][:, -1]
            handover.send(batch, newest, guard.extremes(newest, missing_CHW))
        under_way.append((lead_time, handover))
        if copies is None or len(under_way) > 1:
            yield arrived()
    while under_way:
        yield arrived()


def _advance(
    model: FuxiEns, state_BTCHW: Tensor, clock_B3: NDArray[np.float32], noise: BatchNoise, settings: EnsembleSettings
) -> Tensor:
    device = state_BTCHW.device
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        return model.step(
            state_BTCHW, torch.from_numpy(clock_B3).to(device), noise.eps_BTCHW, noise.dropout, noise.xi_BR
        )
