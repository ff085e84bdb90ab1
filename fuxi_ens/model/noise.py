"""Random fields from explicit streams. Nothing in this package draws from torch's global stream."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Source(Protocol):
    """Gives the random fields of one batch element, or of a whole batch."""

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draws with standard normal marginals, float32."""
        ...

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Draws with marginals uniform on [0, 1], float32."""
        ...


class Stream:
    """Random numbers that are a function of the integers in `seed`, on one kind of device.

    The CPU draws from NumPy's Philox: torch's own CPU generator keeps only 32 bits of a seed, and among the millions
    of streams of a year of ensembles some would be equal. On a GPU torch's generator is a Philox with a 64-bit seed.
    """

    def __init__(self, seed: Sequence[int], device: torch.device) -> None:
        """`seed` holds non-negative integers."""
        sequence = np.random.SeedSequence(list(seed))
        self.device = device
        self._numpy = np.random.Generator(np.random.Philox(sequence))
        self._torch = None
        if device.type != "cpu":
            self._torch = torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, float32."""
        if self._torch is None:
            return torch.from_numpy(self._numpy.standard_normal(tuple(shape), np.float32))
        return torch.randn(tuple(shape), generator=self._torch, device=self.device)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform draws from [0, 1), float32."""
        if self._torch is None:
            return torch.from_numpy(self._numpy.random(tuple(shape), np.float32))
        return torch.rand(tuple(shape), generator=self._torch, device=self.device)

    def words(self, shape: Sequence[int]) -> Tensor:
        """Uniform draws from all values of int32."""
        if self._torch is None:
            return torch.from_numpy(self._numpy.integers(-(2**31), 2**31, tuple(shape), dtype=np.int32))
        words = torch.empty(tuple(shape), dtype=torch.int32, device=self.device)
        return words.random_(-(2**31), 2**31, generator=self._torch)


class Mirrored:
    """The antithetic twin of a source: every normal draw with the other sign, every uniform draw from the other end."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def normal(self, shape: Sequence[int]) -> Tensor:
        """See Source."""
        return -self._source.normal(shape)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """See Source."""
        return 1.0 - self._source.uniform(shape)


class Silent:
    """No noise: normal draws are their mean, and uniform draws the end of the interval where dropout keeps all."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def normal(self, shape: Sequence[int]) -> Tensor:
        """See Source."""
        return torch.zeros(tuple(shape), device=self._device)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """See Source."""
        return torch.ones(tuple(shape), device=self._device)


class Noise:
    """A source of random fields for a batch.

    With one source the whole batch comes from it (training). With one per batch element, element b comes from source b
    and does not depend on its neighbors (members of a forecast).
    """

    def __init__(self, streams: Sequence[Source]) -> None:
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

    def _checked(self, shape: Sequence[int]) -> tuple[Source, ...]:
        assert len(self._streams) == shape[0], f"{len(self._streams)} streams for a batch of {shape[0]}"
        return self._streams
