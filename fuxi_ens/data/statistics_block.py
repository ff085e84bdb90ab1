"""One block of the statistics pass: consecutive training times, read a few frames at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from fuxi_ens import channels as vocabulary
from fuxi_ens.data.era5 import Analysis, Frames
from fuxi_ens.data.moments import Accumulator, BlockMoments
from fuxi_ens.data.reading import Reading
from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.times import Times

_BATCH_BYTES: Final = 2**26
"""Frames read at once have about this size, or are one frame if that is larger. A task holds two such batches."""
_LEAST_FRAMES: Final = 120
"""A block reads one frame of the block before; this many frames make that a small part."""


@dataclass(frozen=True)
class Block:
    """Times that one task adds up, one after the other in the training periods."""

    number: int
    times: Times
    before: Times
    """The time one step before the first, if that is a training time too; else empty."""
    batch: int
    """Frames to read at once."""
    bytes: int
    """Size of its frames in memory, for rates."""


def blocks(used: Times, step_size: np.timedelta64, channels: tuple[str, ...], grid: LatLonGrid) -> list[Block]:
    """Cut the training times into blocks. A function of the data alone: workers must not change the sums."""
    frame_bytes = 4 * len(channels) * grid.height * grid.width
    batch = max(_BATCH_BYTES // frame_bytes, 1)
    size = max(batch, _LEAST_FRAMES)
    plan = []
    for number, start in enumerate(range(0, len(used), size)):
        times, before = used[start : start + size], used[max(start - 1, 0) : start]
        follows = before.size > 0 and times[0] - before[0] == step_size
        plan.append(Block(number, times, before if follows else used[:0], batch, frame_bytes * len(times)))
    return plan


def block_moments(task: tuple[Reading, Block]) -> BlockMoments:
    """Moments of the fields of a block, and of their increments. Raises StoreError for missing values."""
    reading, block = task
    analysis = reading.open()
    log1p = [vocabulary.channel(name).variable.transform == "log1p" for name in reading.channels]
    total = Accumulator(area_weights(reading.grid.latitude), log1p)
    previous: tuple[np.datetime64, Frames] | None = None
    for time, frame in _frames(analysis, block):
        # A difference is an increment only between frames one step apart.
        adjacent = previous is not None and time - previous[0] == reading.step_size
        if time >= block.times[0]:
            total.add(frame, previous[1] if adjacent and previous is not None else None)
        previous = time, frame
    return total.result()


def _frames(analysis: Analysis, block: Block) -> Iterator[tuple[np.datetime64, Frames]]:
    times = np.concatenate([block.before, block.times])
    for start in range(0, len(times), block.batch):
        part = times[start : start + block.batch]
        yield from zip(part, analysis.read(part), strict=True)
