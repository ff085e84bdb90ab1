"""Progress of long work: a bar on a terminal, a few plain lines in a batch log. Rank 0 only."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fuxi_ens.launch import this_process

Advance = Callable[[int, str], None]
"""Call with the units just finished and a short note on the state of things."""

_LINES_PER_TASK = 10
_SECONDS_BETWEEN_LINES = 2.0
_SECONDS_OF_SILENCE = 600.0
"""After so long a line comes even if hardly anything is done: a training of days must not look dead."""
log = logging.getLogger(__name__)


def is_main_process() -> bool:
    """Whether this process is the one that talks."""
    return this_process().rank == 0


def duration(seconds: float) -> str:
    """A time span in two units at most: `45 s`, `12 min`, `3 h 05 min`, `6 d 4 h`."""
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(minutes / 60.0)
    return f"{hours // 24} d {hours % 24} h"


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Report on `total` units of work while the body runs."""
    console = Console(stderr=True)
    if not is_main_process():
        yield lambda units, note: None
    elif console.is_terminal:
        with _bar(description, total, console) as advance:
            yield advance
    else:
        yield _plain_lines(description, total)


@contextmanager
def _bar(description: str, total: int, console: Console) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(description, total=total, note="")
        yield lambda units, note: bars.update(task, advance=units, note=note)


def _plain_lines(description: str, total: int) -> Advance:
    started, done, due, last = time.monotonic(), 0, 0, float("-inf")
    # The rate counts from the first report: what a restart finds done took no time, and first units take too long.
    first: tuple[int, float] | None = None

    def advance(units: int, note: str) -> None:
        nonlocal done, due, first, last
        done += units
        now = time.monotonic()
        first = first or (done, now)
        silent = now - last
        if (done >= due and silent >= _SECONDS_BETWEEN_LINES) or silent >= _SECONDS_OF_SILENCE or done >= total:
            due, last = done + max(total // _LINES_PER_TASK, 1), now
            rate = (done - first[0]) / max(now - first[1], 1e-9)
            left = f", {duration((total - done) / rate)} left" if rate else ""
            log.info("%s %d/%d, %s%s  %s", description, done, total, duration(now - started), left, note)

    return advance
