"""Memory that is used again: fresh memory costs more than filling it."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Scratch(threading.local):
    """One array per thread, which holds until the thread takes the next."""

    memory = np.empty(0, np.uint8)

    def take(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array of any content, C-contiguous."""
        kind = np.dtype(dtype)
        count = int(np.prod(shape)) * kind.itemsize
        if self.memory.size < count:
            self.memory = np.empty(count, np.uint8)
        taken: NDArray[Any] = self.memory[:count].view(kind).reshape(shape)
        return taken
