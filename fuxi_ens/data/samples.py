"""Which init times are legal, and in which order they are visited. Pure NumPy, no state to restore."""

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.config import Period
from fuxi_ens.errors import StoreError
from fuxi_ens.times import HISTORY, Times, time_range

_ORDER_STREAM = 1


def frame_times(init_time: np.datetime64, step_size: np.timedelta64, rollout_steps: int) -> Times:
    """Valid times of one sample: the history up to init_time, then the targets, [HISTORY + rollout_steps]."""
    return init_time + np.arange(1 - HISTORY, rollout_steps + 1) * step_size


def legal_init_times(
    available: Times, periods: tuple[Period, ...], step_size: np.timedelta64, rollout_steps: int
) -> Times:
    """Init times whose history and targets all exist and lie inside one and the same period.

    Raises StoreError when there is none.
    """
    legal = [
        time
        for period in periods
        for time in available[period.contains(available)]
        if _complete(frame_times(time, step_size, rollout_steps), available, period)
    ]
    if not legal:
        raise StoreError(
            f"no init time has its history and {rollout_steps} target frames within "
            f"{[(p.start.isoformat(), p.end.isoformat()) for p in periods]}; the store covers "
            f"{available[0]} to {available[-1]}"
        )
    return np.array(legal, dtype="datetime64[ns]")


def require_complete(available: Times, periods: tuple[Period, ...], step_size: np.timedelta64, source: str) -> None:
    """Raise StoreError unless every step of every period is there: training on less than asked is never silent."""
    for period in periods:
        asked = time_range(np.datetime64(period.start, "ns"), np.datetime64(period.end, "ns"), step_size)
        absent = asked[~np.isin(asked, available)]
        if absent.size:
            raise StoreError(
                f"{source} lacks {absent.size} of {asked.size} times of the period {period.start}..{period.end}, "
                f"first {absent[0]}; it covers {available[0]} to {available[-1]}; shorten the period"
            )


def _complete(needed: Times, available: Times, period: Period) -> bool:
    return bool(period.contains(needed).all() and np.isin(needed, available).all())


def batch_positions(
    count: int, iteration: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1
) -> NDArray[np.int64]:
    """Positions of the samples of one iteration on one rank, [batch_size].

    A pure function of its arguments: resuming needs no sampler state. Ranks take disjoint parts of an endless sequence
    of epochs, each a permutation of `count` samples drawn from (seed, epoch).
    """
    first = (iteration * world + rank) * batch_size
    where = np.arange(first, first + batch_size)
    epochs = {epoch: _permutation(count, seed, epoch) for epoch in np.unique(where // count).tolist()}
    return np.array([epochs[i // count][i % count] for i in where.tolist()], dtype=np.int64)


def _permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, _ORDER_STREAM, epoch]).permutation(count)
