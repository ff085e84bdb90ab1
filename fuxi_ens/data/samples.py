"""Which init times are legal, and in which order they are visited. Pure NumPy, no state to restore."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.config import Period
from fuxi_ens.errors import StoreError
from fuxi_ens.times import HISTORY, Leads, Times, label, time_range

_ORDER_STREAM = 1


def frame_offsets(step_size: np.timedelta64, rollout_steps: int) -> Leads:
    """Valid times of the frames of one sample relative to init_time: history, then targets, [HISTORY + rollout]."""
    return np.arange(1 - HISTORY, rollout_steps + 1) * step_size


def frame_times(init_time: np.datetime64, step_size: np.timedelta64, rollout_steps: int) -> Times:
    """Valid times of one sample: the history up to init_time, then the targets, [HISTORY + rollout_steps]."""
    return init_time + frame_offsets(step_size, rollout_steps)


def require_complete(available: Times, periods: tuple[Period, ...], step_size: np.timedelta64, source: str) -> None:
    """Raise StoreError unless every step of every period is there: training on less than asked is never silent."""
    for period in periods:
        asked = time_range(np.datetime64(period.start, "ns"), np.datetime64(period.end, "ns"), step_size)
        absent = asked[~np.isin(asked, available)]
        if absent.size:
            raise StoreError(
                f"{source} lacks {absent.size} of {asked.size} times of the period {period.start}..{period.end}, "
                f"first {label(absent[0])}; it covers {label(available[0])} to {label(available[-1])}; shorten it"
            )


@dataclass(frozen=True)
class SampleIndex:
    """The legal samples of a purpose (training, validation), and which of them a rank takes when."""

    init_times: Times
    """Init times whose history and targets all exist, increasing."""

    @classmethod
    def legal(
        cls, available: Times, periods: tuple[Period, ...], step_size: np.timedelta64, rollout_steps: int
    ) -> "SampleIndex":
        """Samples whose frames are all in `available` and inside one and the same period.

        Times of a skip list are not in `available`. Raises StoreError when there is no such sample.
        """
        return cls(_legal_init_times(available, periods, step_size, rollout_steps))

    def __len__(self) -> int:
        return len(self.init_times)

    def batch(
        self, iteration: int, batch_size: int, *, seed: tuple[int, ...], place: "RankPlace | None" = None
    ) -> Times:
        """Init times of one iteration on one rank, [batch_size]; see `batch_positions`."""
        chosen: Times = self.init_times[batch_positions(len(self), iteration, batch_size, seed=seed, place=place)]
        return chosen

    def spread(self, count: int) -> Times:
        """At most `count` init times, evenly spaced from the first to the last: a fixed set for validation."""
        chosen: Times = self.init_times[np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)]
        return chosen


@dataclass(frozen=True)
class RankPlace:
    """Where a process stands among those that train together."""

    rank: int = 0
    world: int = 1
    ranks_per_sample: int = 1
    """Ranks that share a sample, each with members of its own."""

    def __post_init__(self) -> None:
        if self.world % self.ranks_per_sample or not 0 <= self.rank < self.world:
            raise ValueError(
                f"rank {self.rank} of {self.world} in groups of {self.ranks_per_sample}: groups must divide the world"
            )

    @property
    def group(self) -> int:
        """Number of this rank's group; ranks of a group are neighbors, so on one node."""
        return self.rank // self.ranks_per_sample

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return self.world // self.ranks_per_sample


def batch_range(iteration: int, batch_size: int, place: RankPlace) -> NDArray[np.int64]:
    """Numbers of the samples of one iteration on one rank in the endless sequence of all, [batch_size]."""
    first = (iteration * place.groups + place.group) * batch_size
    return np.arange(first, first + batch_size, dtype=np.int64)


def batch_positions(
    count: int, iteration: int, batch_size: int, *, seed: tuple[int, ...], place: RankPlace | None = None
) -> NDArray[np.int64]:
    """Positions of the samples of one iteration on one rank, [batch_size].

    A pure function of its arguments: resuming needs no sampler state. Groups of ranks take disjoint parts of an endless
    sequence of epochs, each a permutation of `count` samples drawn from (seed, epoch); ranks of a group take the same.
    """
    where = batch_range(iteration, batch_size, place or RankPlace())
    epochs = {epoch: _permutation(count, seed, epoch) for epoch in np.unique(where // count).tolist()}
    return np.array([epochs[i // count][i % count] for i in where.tolist()], dtype=np.int64)


def _legal_init_times(
    available: Times, periods: tuple[Period, ...], step_size: np.timedelta64, rollout_steps: int
) -> Times:
    if not available.size:
        raise StoreError("the analysis holds no times at all")
    offsets = frame_offsets(step_size, rollout_steps)
    exists = np.all([np.isin(available + offset, available) for offset in offsets], axis=0)
    inside = [period.contains(available + offsets[0]) & period.contains(available + offsets[-1]) for period in periods]
    legal: Times = available[exists & np.any(inside, axis=0)]
    if not legal.size:
        raise StoreError(
            f"no init time has its history and {rollout_steps} target frames within "
            f"{[(p.start.isoformat(), p.end.isoformat()) for p in periods]}; the store covers "
            f"{label(available[0])} to {label(available[-1])}"
        )
    return legal


def _permutation(count: int, seed: tuple[int, ...], epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([*seed, _ORDER_STREAM, epoch]).permutation(count)
