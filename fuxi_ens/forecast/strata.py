"""Stratified noise: a Latin hypercube over the members of an ensemble, one per element of the fields.

For M members the real line is cut into M intervals of equal probability, and at every element every member sits in
another one. Which one is a permutation of the members that a member can compute by itself: the affine map
j -> a * j + s modulo a prime, with a and s drawn anew for every element. Over a prime field two different members are
sent to all pairs of different places with equal probability, which is all that means, variances and the CRPS depend on
(decisions/025). Where M is no prime this holds nearly; so the members are shuffled, once per step and in the same way
for all elements, before the map and before a second one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuxi_ens.model.noise import Stream

CHUNK = 1 << 22
"""Elements that are drawn at a time: what is computed on the way to a normal draw takes ten times its memory."""

_HALF_STEP = 2.0**-25
"""Half the spacing of uniform float32 draws from [0, 1): keeps them off both ends, where normal draws are infinite."""
_LARGEST = 46_000
"""Beyond, the square of the prime is no int32."""


def shuffled(seed: Sequence[int], members: int) -> NDArray[np.int64]:
    """The members in a random order that is a function of the integers in `seed`, on every device the same."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(list(seed)))).permutation(members)


def permuted(place: int | Tensor, a: Tensor, s: Tensor, members: int) -> Tensor:
    """Where `place` goes under the permutations of 0..members-1 that `a` and `s` name.

    `a` from 1..P-1 and `s` from 0..P-1, where P = `prime_from(members)`, name a permutation of 0..P-1. What leaves
    0..members-1 is sent on until it comes back, which takes P - members times at most: no look at the values is needed.
    """
    prime = prime_from(members)
    where = torch.remainder(a * place + s, prime)
    for _ in range(prime - members):
        where = torch.where(where < members, where, torch.remainder(a * where + s, prime))
    return where


def prime_from(least: int) -> int:
    """The smallest prime that is at least `least`, and at least 2."""
    candidate = max(least, 2)
    while any(candidate % divisor == 0 for divisor in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate


class Stratified:
    """The draws of one member; see `fuxi_ens.model.noise.Source`.

    Marginals are standard normal and uniform. Members of one ensemble differ in `own` and `place`, and have equal
    copies of `shared`.
    """

    def __init__(self, own: Stream, shared: Stream, index: int, orders: Sequence[NDArray[np.int64]]) -> None:
        """`index` is that of the member, from 0; `orders` are shuffled members, one order before each map."""
        self._own, self._shared, self._orders, self._members = own, shared, orders, len(orders[0])
        assert 0 <= index < self._members <= _LARGEST, f"member {index} of {self._members}, of which {_LARGEST} may be"
        self._index = index

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, float32."""
        return self._draws(shape, normal=True)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform draws from [0, 1], float32."""
        return self._draws(shape, normal=False)

    def _draws(self, shape: Sequence[int], *, normal: bool) -> Tensor:
        total = int(np.prod(tuple(shape)))
        parts = []
        for first in range(0, total, CHUNK):
            level = self._levels(min(CHUNK, total - first))
            parts.append((torch.special.ndtri(level) if normal else level).float())
        return torch.cat(parts).view(tuple(shape))

    def _levels(self, count: int) -> Tensor:
        """Uniform draws within (0, 1), float64: somewhere in this member's interval of each element."""
        prime = prime_from(self._members)
        where = torch.full((count,), self._index, dtype=torch.int32, device=self._shared.device)
        for order in self._orders:
            a = 1 + torch.remainder(self._shared.words((count,)), prime - 1)
            s = torch.remainder(self._shared.words((count,)), prime)
            place = torch.from_numpy(order.astype(np.int32)).to(where.device).index_select(0, where)
            where = permuted(place, a, s, self._members)
        return (where + (self._own.uniform((count,)).double() + _HALF_STEP)) / self._members
