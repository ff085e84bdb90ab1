"""Random fields from explicit streams. Nothing in this package draws from torch's global stream."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Stream:
    """Random numbers that are a function of the integers in `seed`, on one kind of device.

    The CPU draws from NumPy's Philox: torch's own CPU generator keeps only 32 bits of a seed, and among the millions
    of streams of a year of ensembles some would be equal. On a GPU torch's generator is a Philox with a 64-bit seed.
    """

    def __init__(self, seed: Sequence[int], device: torch.device) -> None:
        """`seed` holds non-negative integers."""
        sequence = np.random.SeedSequence(list(seed))
        self._device = device
        self._numpy = np.random.Generator(np.random.Philox(sequence))
        self._torch = None
        if device.type != "cpu":
            self._torch = torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, float32."""
        if self._torch is None:
            return torch.from_numpy(self._numpy.standard_normal(tuple(shape), np.float32))
        return torch.randn(tuple(shape), generator=self._torch, device=self._device)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform draws from [0, 1), float32."""
        if self._torch is None:
            return torch.from_numpy(self._numpy.random(tuple(shape), np.float32))
        return torch.rand(tuple(shape), generator=self._torch, device=self._device)


class Noise:
    """A source of random fields for a batch.

    With one stream the whole batch comes from it (training). With one stream per batch element, element b comes from
    stream b and does not depend on its neighbors (members of a forecast).
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = tuple(streams)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, float32; dimension 0 of `shape` is the batch."""
        if len(self._streams) == 1:
            return self._streams[0].normal(shape)
        return torch.stack([stream.normal(shape[1:]) for stream in self._checked(shape)])

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform draws from [0, 1), float32; dimension 0 of `shape` is the batch."""
        if len(self._streams) == 1:
            return self._streams[0].uniform(shape)
        return torch.stack([stream.uniform(shape[1:]) for stream in self._checked(shape)])

    def _checked(self, shape: Sequence[int]) -> tuple[Stream, ...]:
        assert len(self._streams) == shape[0], f"{len(self._streams)} streams for a batch of {shape[0]}"
        return self._streams
