"""The noise of the coming batch, drawn beside the network's work on the present one.

Shape legend: B members of a batch, T = 2 history frames, C channels, H latitude, W longitude, R patterns.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fuxi_ens.config import ModelConfig
from fuxi_ens.forecast.draws import CONTROL, Draws
from fuxi_ens.forecast.seats import Batch
from fuxi_ens.model.block import Dropout, seeded_dropout
from fuxi_ens.model.latent import draw
from fuxi_ens.model.noise import Noise
from fuxi_ens.times import HISTORY


@dataclass(frozen=True, slots=True)
class BatchNoise:
    """Everything random that a batch meets at one step."""

    eps_BTCHW: Tensor
    xi_BR: Tensor | None
    dropout: Dropout


@dataclass(frozen=True, slots=True)
class NoiseMaker:
    """Noise of the members of a roll-out, a function of init time, step and member."""

    draws: Draws
    model: ModelConfig
    init_time: np.datetime64
    device: torch.device

    def __call__(self, step: int, batch: Batch) -> BatchNoise:
        """For a batch at a step, counted from 0."""
        noise = Noise([self.draws.source(self.init_time, index, step, self.device) for index in batch.indices])
        shape = (len(batch.indices), HISTORY, len(self.model.channels), self.model.height, self.model.width)
        eps, xi = draw(noise, shape, self.model.patterns)
        return BatchNoise(eps, xi, _sparing_control(seeded_dropout(self.model.dropout, noise), batch, self.device))


def noise_ahead(make: NoiseMaker, steps: int, batches: Sequence[Batch]) -> Iterator[BatchNoise]:
    """Noise of all batches at step 0, then at step 1, and so on.

    On a CPU a thread draws one batch ahead: NumPy lets go of the interpreter while it draws. A GPU draws on its own
    when it comes to it.
    """
    turns = ((step, batch) for step in range(steps) for batch in batches)
    if make.device.type != "cpu":
        yield from (make(*turn) for turn in turns)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="noise") as pool:
        coming = pool.submit(make, *next(turns))
        for turn in turns:
            present, coming = coming, pool.submit(make, *turn)
            yield present.result()
        yield coming.result()


def _sparing_control(dropout: Dropout, batch: Batch, device: torch.device) -> Dropout:
    """The same for perturbed members; nothing is dropped from the control member, and so nothing scaled."""
    if CONTROL not in batch.indices:
        return dropout
    control_B = torch.tensor([index == CONTROL for index in batch.indices], device=device)
    return lambda x: torch.where(control_B.view(-1, *[1] * (x.ndim - 1)), x, dropout(x))
