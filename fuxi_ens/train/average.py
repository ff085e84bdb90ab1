"""Exponential moving average of the weights, used for validation and forecasts.

Kept apart from the network and not as a second one: sharded networks cannot be copied, their shards can.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class RunningAverage:
    """Averages of all parameters of a network, each rank those of its shards."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Starts at the weights as they are; the first update takes over the weights wholly."""
        self._network, self._decay = network, decay
        self._averages = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.updates = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        averages, weights = self._local()
        if self.updates == 0:
            torch._foreach_copy_(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, 1.0 - self._decay)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the network has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def adopt(self) -> None:
        """Make the averaged weights those of the network, and start a new average from them."""
        with torch.no_grad():
            averages, weights = self._local()
            torch._foreach_copy_(weights, averages)
        self.updates.zero_()

    def state(self) -> dict[str, Tensor]:
        """The tensors to save, and to load in place."""
        return {**self._averages, "updates": self.updates}

    @torch.no_grad()
    def _swap(self) -> None:
        for average, weight in zip(*self._local(), strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def _local(self) -> tuple[list[Tensor], list[Tensor]]:
        pairs = [(self._averages[name], p.detach()) for name, p in self._network.named_parameters()]
        return [_shard(average) for average, _ in pairs], [_shard(weight) for _, weight in pairs]


def _shard(x: Tensor) -> Tensor:
    return x.to_local() if isinstance(x, DTensor) else x
