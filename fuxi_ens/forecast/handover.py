"""Frames from the device to the host, so that the device can go on while they travel.

Shape legend: M members, B members of a batch, C channels, H latitude, W longitude.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuxi_ens.forecast.seats import Batch


class Handover:
    """One lead time of all members on its way to the host.

    On a GPU the fields go into page-locked memory on a stream of their own; PyTorch's allocator uses that memory again
    once nobody holds the arrays. On a CPU they are copied at once.
    """

    def __init__(self, shape_MCHW: Sequence[int], device: torch.device, stream: "torch.cuda.Stream | None") -> None:
        pinned = stream is not None
        self._frames = torch.empty(tuple(shape_MCHW), pin_memory=pinned)
        self._extremes = torch.empty((shape_MCHW[0], 2, shape_MCHW[1]), pin_memory=pinned)
        self._stream, self._device = stream, device
        self._arrived = torch.cuda.Event() if stream is not None else None

    def send(self, batch: Batch, frames: Tensor, extremes: Tensor) -> None:
        """Take what is wanted of a batch, [B, C, H, W], and of its extremes, [B, 2, C]."""
        if self._stream is None or self._arrived is None:
            self._copy(batch, frames, extremes)
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._copy(batch, frames, extremes)
            self._arrived.record(self._stream)
        for tensor in (frames, extremes):
            tensor.record_stream(self._stream)

    def _copy(self, batch: Batch, frames: Tensor, extremes: Tensor) -> None:
        for row, place in zip(batch.rows, batch.places, strict=True):
            self._frames[place].copy_(frames[row], non_blocking=True)
            self._extremes[place].copy_(extremes[row], non_blocking=True)

    def wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Frames [M, C, H, W] and extremes [M, 2, C], arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._frames.numpy(), self._extremes.numpy()


def copy_stream(device: torch.device) -> "torch.cuda.Stream | None":
    """A stream for copies from a GPU; None for a device whose copies wait for nothing."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None
