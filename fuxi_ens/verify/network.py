"""Sorting networks: which two members are compared, in which order, whatever their values.

Machine code that numba kept was made from the network of its time: whoever changes it must touch `kernel.py`.
"""

from collections import defaultdict
from functools import cache

import numpy as np
from numpy.typing import NDArray


def network(members: int) -> list[tuple[int, int]]:
    """Comparators of Batcher's odd-even merge sort, depth first, [(lower, upper)].

    Those of the next power of two without the ones that touch positions beyond `members`: what is not there acts as
    infinity, which never moves.
    """
    padded = 1 << max(members - 1, 0).bit_length()
    comparators: list[tuple[int, int]] = []

    def merge(low: int, size: int, step: int) -> None:
        if 2 * step < size:
            merge(low, size, 2 * step)
            merge(low + step, size, 2 * step)
            comparators.extend((i, i + step) for i in range(low + step, low + size - step, 2 * step))
        else:
            comparators.append((low, low + step))

    def sort(low: int, size: int) -> None:
        if size > 1:
            sort(low, size // 2)
            sort(low + size // 2, size // 2)
            merge(low, size, 1)

    sort(0, padded)
    return [(i, j) for i, j in comparators if j < members]


@cache
def table(members: int, vector_bytes: int) -> NDArray[np.int64]:
    """The network as byte offsets into a buffer of one vector per member, int64 [comparator, 2].

    In layers of comparators that do not wait for each other.
    """
    layer_of: dict[int, int] = defaultdict(int)
    layered = []
    for i, j in network(members):
        layer = max(layer_of[i], layer_of[j])
        layer_of[i] = layer_of[j] = layer + 1
        layered.append((layer, i, j))
    layered.sort(key=lambda comparator: comparator[0])
    return np.array(layered, np.int64).reshape(-1, 3)[:, 1:] * vector_bytes
