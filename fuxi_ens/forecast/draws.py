"""What noise a member gets: the streams of random numbers of a forecast, and how members share them.

A perturbed member has an index, counted from 0 without the control member. Its draws depend on seed, init_time, index
and step alone; stratified ones on the number of perturbed members as well.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from fuxi_ens.config import DrawsName
from fuxi_ens.forecast.strata import Stratified, shuffled
from fuxi_ens.model.noise import Mirrored, Silent, Source, Stream

CONTROL: Final = -1
"""In place of the index of a perturbed member: the member without noise, the mean of the prior."""

_MEMBER_STREAM: Final = 4
_SHARED_STREAM: Final = 5
_ORDER_STREAM: Final = 6
_MAPS: Final = 2
_EPOCH: Final = np.datetime64("1800-01-01", "ns")
"""Before any analysis, so that the minutes since are positive."""


def member_stream(seed: int, init_time: np.datetime64, index: int, step: int, device: torch.device) -> Stream:
    """The random stream of one member at one step: a function of these four alone, whatever else is computed."""
    return Stream([seed, _MEMBER_STREAM, _minutes(init_time), index, step], device)


@dataclass(frozen=True, slots=True)
class Draws:
    """The noise of one ensemble."""

    kind: DrawsName
    """`antithetic`: member 2k + 1 has the noise of member 2k with the other sign. `stratified`: see `strata`."""
    seed: int
    members: int
    """Perturbed members of the whole ensemble, wherever they are made."""

    def source(self, init_time: np.datetime64, index: int, step: int, device: torch.device) -> Source:
        """Noise of one member at one step; `index` may be CONTROL, or beyond the ensemble for members nobody wants."""
        if index == CONTROL:
            return Silent(device)
        if self.kind == "antithetic":
            stream = member_stream(self.seed, init_time, index // 2 * 2, step, device)
            return Mirrored(stream) if index % 2 else stream
        own = member_stream(self.seed, init_time, index, step, device)
        if self.kind == "random":
            return own
        where = (_minutes(init_time), step)
        shared = Stream([self.seed, _SHARED_STREAM, *where], device)
        orders = [shuffled([self.seed, _ORDER_STREAM, *where, k], self.members) for k in range(_MAPS)]
        return Stratified(own, shared, index % self.members, orders)


def _minutes(init_time: np.datetime64) -> int:
    return int((init_time - _EPOCH) / np.timedelta64(1, "m"))
