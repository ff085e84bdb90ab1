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

_BUFFERS = 2


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


def load_batch(
    reader: FrameReader,
    init_times: Times,
    step_size: np.timedelta64,
    rollout_steps: int,
    frames: Tensor | None = None,
) -> Batch:
    """Read the samples of one batch, into `frames` [B, T + K, C, H, W] if given."""
    if frames is None:
        frames = _empty(reader, len(init_times), rollout_steps, pinned=False)
    for init_time, sample in zip(init_times, frames.numpy(), strict=True):
        reader.read_into(frame_times(init_time, step_size, rollout_steps), sample)
    clocks = np.stack([clock(init_times + k * step_size, k) for k in range(rollout_steps)], axis=1)
    return Batch(frames[:, :HISTORY], frames[:, HISTORY:], torch.from_numpy(clocks), init_times)


@dataclass(frozen=True)
class Loader:
    """Reads the batches of a stage ahead of the device, in bounded memory.

    Two batches of host memory are allocated once, page-locked for a GPU, and filled in turn: decoders write into them
    directly. A background thread fills one while the device works on the other.
    """

    reader: FrameReader
    step_size: np.timedelta64
    rollout_steps: int
    batch_size: int
    device: torch.device

    def stream(self, chosen: Callable[[int], Times], iterations: range) -> Iterator[Batch]:
        """The batch of the init times `chosen(i)` for each i, on the device.

        On a CPU a batch is lent: it is valid until the next one is asked for. An error in reading is raised here, at
        the batch it belongs to.
        """
        pinned = self.device.type == "cuda"
        buffers = [_empty(self.reader, self.batch_size, self.rollout_steps, pinned=pinned) for _ in range(_BUFFERS)]
        copied: list[torch.cuda.Event | None] = [None] * _BUFFERS

        def load(i: int) -> Batch:
            event = copied[i % _BUFFERS]
            if event is not None:
                event.synchronize()
            return load_batch(self.reader, chosen(i), self.step_size, self.rollout_steps, buffers[i % _BUFFERS])

        for i, batch in zip(iterations, prefetched(load, iterations), strict=True):
            moved = batch.to(self.device)
            if pinned:
                copied[i % _BUFFERS] = torch.cuda.current_stream(self.device).record_event()
            yield moved


def prefetched(load: Callable[[int], Batch], iterations: range) -> Iterator[Batch]:
    """`load(i)` for each i, one batch ahead of the consumer in a background thread.

    A thread and not worker processes: decoding releases the interpreter lock, and batches are not copied between
    processes. `load(i)` begins when the consumer has asked for batch i - 1, so it may reuse the memory of batch i - 2.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as pool:
        pending: deque[Future[Batch]] = deque()
        try:
            for i in iterations:
                pending.append(pool.submit(load, i))
                if len(pending) == _BUFFERS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _empty(reader: FrameReader, batch_size: int, rollout_steps: int, *, pinned: bool) -> Tensor:
    shape = (batch_size, HISTORY + rollout_steps, len(reader.channels), *reader.shape)
    return torch.empty(shape, dtype=torch.float32, pin_memory=pinned)
