"""Work divided among processes that know nothing of each other but a disk.

A process claims an item with a lock on one byte of a file; the lock ends with the process, however that ends. So an
item is made by one process at a time, one that was killed leaves its items to others, and nothing stale is left behind.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_SECONDS_BETWEEN_LOOKS = 0.5


class Claims:
    """Claims of this process on numbered items; all end with `close`, or with the process."""

    def __init__(self, path: Path) -> None:
        """`path` is the file that all processes lock; made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self.work = self._lockable()
        """Whether the disk knows locks. Without them every claim succeeds."""
        if not self.work:
            log.warning("%s lies on a disk without file locks; each process does its own share only", path)

    def take(self, number: int) -> bool:
        """Claim an item; False if another process has it."""
        if not self.work:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def close(self) -> None:
        """Give all claims up."""
        os.close(self._file)

    def _lockable(self) -> bool:
        """Tried on a byte that stands for no item."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 1 << 40)
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return False
            raise
        return True


def claimed(
    numbers: Sequence[int], rank: int, world: int, is_finished: Callable[[int], bool], claims: Claims
) -> Iterator[tuple[int, bool]]:
    """Yield the items of `numbers` with whether this process shall make them, until all are finished.

    A process begins with its own share, every `world`-th from the `rank`-th on, and then takes what others have not
    begun. In the end it waits for what others are making, and makes what they leave unfinished when they die.
    """
    own = list(numbers[rank::world])
    left = own + [number for number in numbers if number not in set(own)] if claims.work else own
    while left:
        later = []
        for number in left:
            if not is_finished(number) and not claims.take(number):
                later.append(number)
            else:
                # Another process may have finished it between the look and the claim.
                yield number, not is_finished(number)
        if len(later) == len(left):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        left = later
