"""Random numbers from explicit generators. Nothing in this package draws from torch's global stream."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def generator(seed: Sequence[int], device: torch.device) -> torch.Generator:
    """A generator whose stream is a function of the integers in `seed` alone."""
    # The words are mixed with fixed odd constants (SplitMix64), so that neighboring seeds give unrelated streams and
    # no library's seeding algorithm can change the bits of a published forecast.
    state = 0
    for word in seed:
        state = _splitmix64((state + word) & _MASK)
    return torch.Generator(device).manual_seed(state >> 1)


_MASK = (1 << 64) - 1


def _splitmix64(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Noise:
    """A source of random fields for a batch.

    With one generator the whole batch comes from one stream (training). With one generator per batch element, element
    b comes from stream b and does not depend on its neighbors (members of a forecast).
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = tuple(generators)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, float32."""
        return self._draw(lambda size, g: torch.randn(size, generator=g, device=g.device), shape)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform draws from [0, 1), float32."""
        return self._draw(lambda size, g: torch.rand(size, generator=g, device=g.device), shape)

    def _draw(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: Sequence[int]) -> Tensor:
        if len(self._generators) == 1:
            return draw(tuple(shape), self._generators[0])
        assert len(self._generators) == shape[0], f"{len(self._generators)} streams for a batch of {shape[0]}"
        return torch.stack([draw(tuple(shape[1:]), g) for g in self._generators])
