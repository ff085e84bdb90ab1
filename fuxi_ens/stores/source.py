"""What `Fields` needs of one variable, however it is stored."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Task = tuple[int, Callable[[], None]]
"""Cost in bytes decoded, and the work. Tasks of one call write to different places and may run at the same time."""


class Target(NamedTuple):
    """Where the fields of one time go."""

    position: int
    """On the stored time axis."""
    out: NDArray[np.float32]
    """[level, latitude, longitude] in the order of the levels asked for."""


class Source(Protocol):
    """One variable of a store."""

    remote: bool
    """Whether reading waits for a network."""
    cost: int
    """Bytes decoded for one time."""

    def tasks(self, targets: Sequence[Target]) -> Iterator[Task]:
        """Work that fills all targets; a task raises StoreError when something cannot be read."""
        ...

    def stored_bytes(self, positions: NDArray[np.intp]) -> NDArray[np.int64]:
        """Compressed bytes behind each field, [position, level]; 0 absent, -1 unknown."""
        ...
