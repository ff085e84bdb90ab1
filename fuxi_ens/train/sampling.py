"""Which sample and which random numbers belong to a place in training: functions of the seed and of that place alone.

Samples of a stage are numbered as they come. Neither the number of ranks nor how members are divided among them changes
what sample n is, nor the random numbers of its members.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fuxi_ens.config import Config, StageConfig
from fuxi_ens.data.samples import RankPlace, SampleIndex, batch_range
from fuxi_ens.model.noise import Noise, Stream
from fuxi_ens.times import Times

_NOISE_STREAM, _VALIDATION_STREAM = 2, 3


@dataclass(frozen=True)
class StageSamples:
    """Samples and noise of one rank in one stage. Batches are counted, `accumulate` of them make an iteration."""

    config: Config
    number: int
    """Of the stage."""
    index: SampleIndex
    place: RankPlace
    device: torch.device

    @property
    def stage(self) -> StageConfig:
        """The stage's settings."""
        return self.config.train.stages[self.number]

    @property
    def per_iteration(self) -> int:
        """Samples of all ranks in an iteration."""
        return self.stage.batch_size * self.stage.accumulate * self.place.groups

    def init_times(self, batch: int) -> Times:
        """Init times of this rank's samples, [B]."""
        seed = (self.config.run.seed, self.number)
        return self.index.batch(batch, self.stage.batch_size, seed=seed, place=self.place)

    def in_one_epoch(self, batch: int) -> bool:
        """Whether all ranks' samples of this batch are distinct."""
        first = batch * self.stage.batch_size * self.place.groups
        last = first + self.stage.batch_size * self.place.groups - 1
        return first // len(self.index) == last // len(self.index)

    def streams(self, batch: int) -> list[Stream]:
        """Random streams of this rank's members, members of a sample after one another, [B * M]."""
        members = self.stage.members // self.place.ranks_per_sample
        first = (self.place.rank % self.place.ranks_per_sample) * members
        seed = (self.config.run.seed, _NOISE_STREAM, self.number)
        return [
            Stream([*seed, sample, member], self.device)
            for sample in self._samples(batch).tolist()
            for member in range(first, first + members)
        ]

    def noise(self, batch: int) -> Noise:
        """What feeds perturbations and dropout of this rank's members."""
        return Noise(self.streams(batch))

    def _samples(self, batch: int) -> NDArray[np.int64]:
        return batch_range(batch, self.stage.batch_size, self.place)


def validation_noise(seed: int, sample: int, members: int, device: torch.device) -> Noise:
    """Random streams of the members of one validation sample: the same at every validation."""
    return Noise([Stream([seed, _VALIDATION_STREAM, sample, member], device) for member in range(members)])


def divided(count: int, place: RankPlace) -> Iterator[tuple[int, bool]]:
    """This rank's share of `count` things, and whether each counts: all ranks get equally many, some again."""
    for first in range(0, count, place.world):
        mine = first + place.rank
        yield (mine, True) if mine < count else (0, False)
