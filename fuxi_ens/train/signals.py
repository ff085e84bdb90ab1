"""Stopping on request: a batch system's signals are noted, and the ranks leave together at the end of an iteration.

Knows nothing of torch, so that a command can listen before its heavy imports: a signal in between would kill it.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGUSR1, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked this process to stop, and how."""

    def __init__(self) -> None:
        self._heard: signal.Signals | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it SIGUSR1 (sent by batch systems before the time limit) and SIGTERM (preemption) are noted.

        After a stop or an error they are ignored: Python shutting down must not be killed, and its exit code lost.
        """
        before = {number: signal.signal(number, self._note) for number in _STOPS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if self._heard or sys.exc_info()[0] else handler)

    @property
    def reason(self) -> str:
        """Name of the signal, empty if there was none."""
        return self._heard.name if self._heard else ""

    def _note(self, number: int, _: FrameType | None) -> None:
        self._heard = signal.Signals(number)


stop_request = StopRequest()
"""Of this process: signals belong to processes."""
