"""From frames on disk to a batch of tensors. The only file of the data layer that knows torch.

Shape legend: B init times, T = 2 history frames, K target frames, C channels, H latitude, W longitude.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fuxi_ens.data.era5 import FrameReader
from fuxi_ens.data.samples import frame_times
from fuxi_ens.times import HISTORY, Times, clock

_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples in model units."""

    frames_BTCHW: Tensor
    target_BKCHW: Tensor
    clock_BK3: Tensor
    """Clock of the newest history frame of each model step (`times.clock`)."""
    init_time: Times

    def to(self, device: torch.device) -> "Batch":
        """Copy the tensors to `device`."""
        return Batch(
            self.frames_BTCHW.to(device, non_blocking=True),
            self.target_BKCHW.to(device, non_blocking=True),
            self.clock_BK3.to(device, non_blocking=True),
            self.init_time,
        )


def load_batch(reader: FrameReader, init_times: Times, step_size: np.timedelta64, rollout_steps: int) -> Batch:
    """Read the samples of one batch."""
    samples = np.stack([reader.read(frame_times(t, step_size, rollout_steps)) for t in init_times])
    clocks = np.stack([clock(init_times + k * step_size, k) for k in range(rollout_steps)], axis=1)
    frames = torch.from_numpy(samples)
    return Batch(frames[:, :HISTORY], frames[:, HISTORY:], torch.from_numpy(clocks), init_times)


def prefetched(load: Callable[[int], Batch], iterations: range) -> Iterator[Batch]:
    """`load(i)` for each i, read ahead by a background thread so that the device does not wait.

    A thread and not worker processes: decoding releases the interpreter lock, and batches are not copied between
    processes. An error in `load` is raised here, at the batch it belongs to.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as pool:
        pending: deque[Future[Batch]] = deque()
        for i in iterations:
            pending.append(pool.submit(load, i))
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
