"""Work behind the back of the model: one thread, a bounded queue, errors that come back to the caller."""

from collections.abc import Callable
from queue import Queue
from threading import Thread

Job = Callable[[], None]


class BackgroundWriter:
    """Does jobs one after another, in the order in which they were given.

    At most `waiting` jobs wait; a caller who is ahead waits too, which bounds the memory of what the jobs hold. After
    an error no further job is done, so that nothing is declared finished whose fields were lost; the error comes back
    at the next `submit`, or at `close`.
    """

    def __init__(self, waiting: int) -> None:
        """Start the thread."""
        self._jobs: Queue[Job | None] = Queue(maxsize=waiting)
        self._error: BaseException | None = None
        self._told = False
        # A process that dies of an error elsewhere does not wait for it; what it leaves is what a kill leaves.
        self._thread = Thread(target=self._work, name="forecast-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Have a job done; waits while the queue is full. Raises the error of an earlier one."""
        if self._error is not None:
            self._told = True
            raise self._error
        self._jobs.put(job)

    def close(self) -> None:
        """Wait until all jobs are done. Raises the error of one, if nobody has been told yet."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        if self._error is not None and not self._told:
            self._told = True
            raise self._error

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is None:
                try:
                    job()
                except BaseException as error:  # noqa: BLE001 - handed to the caller
                    self._error = error
