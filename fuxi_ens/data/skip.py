"""The skip list: times of a store that no sample and no statistic may touch, and why.

Neighbors on a regular axis with one reason are one entry, `time` to `until` in steps of `step_hours`: the axis of a
public store may begin decades before its data.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.stores.remote import printable
from fuxi_ens.times import Times, hours, label, time_range

SCHEMA: Final = 1

Reasons = Mapping[np.datetime64, str]


def entries(reasons: Reasons) -> list[dict[str, str | float]]:
    """The times to skip as they stand in the file, in order of time."""
    times = np.array(list(reasons), dtype="datetime64[ns]")
    words, code = np.unique(np.array([*reasons.values(), ""]), return_inverse=True)
    order = np.argsort(times)
    times, code = times[order], code[:-1][order]
    return [_entry(times[first:stop], str(words[code[first]])) for first, stop in _runs(times, code)]


def write_skip_list(path: Path, store: str, reasons: Reasons) -> None:
    """Write the times to skip with their reasons. Raises OSError."""
    content = {"schema": SCHEMA, "store": _canonical(store), "times": entries(reasons)}
    write_atomic(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def load_skip_list(path: Path, store: str, *sources: str) -> Times:
    """Times to skip in `store`, increasing. Raises StoreError for a damaged list and for one of another store.

    `sources` are stores that `store` was made from: what is to be skipped there is to be skipped here.
    """
    content = _content(path, store)
    if not any(same_store(str(content.get("store")), known) for known in (store, *sources)):
        raise StoreError(f"the skip list {path} is of {content.get('store')}, not of {store}; {_remedy(store)}")
    try:
        times = [np.zeros(0, "datetime64[ns]"), *map(_times, content["times"])]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"the skip list {path} is damaged ({error!r}); {_remedy(store)}") from error
    return np.unique(np.concatenate(times))


def same_store(one: str, other: str) -> bool:
    """Whether two ways of writing a source mean the same store: relative or absolute, with or without a slash."""
    return _canonical(one) == _canonical(other)


def _content(path: Path, store: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read the skip list {path} ({error}); {_remedy(store)}") from error
    except ValueError as error:
        raise StoreError(f"the skip list {path} is damaged ({error}); {_remedy(store)}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        got = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise StoreError(f"{path} is no skip list: got schema {got!r}, expected {SCHEMA}; {_remedy(store)}")
    return content


def _runs(times: Times, code: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Begin and end of runs with one reason and one step; two times are no run yet."""
    same, step = np.diff(code) == 0, np.diff(times)
    # A run goes on to the next time if the step to it, and the step after it, are alike and within one reason.
    breaks = np.flatnonzero(~(same[1:] & same[:-1] & (step[1:] == step[:-1]))) + 1
    first = 0
    while first < len(times):
        later = int(np.searchsorted(breaks, first + 1))
        stop = int(breaks[later]) + 1 if later < len(breaks) else len(times)
        stop = stop if stop - first > 2 else first + 1
        yield first, stop
        first = stop


def _entry(run: Times, reason: str) -> dict[str, str | float]:
    if len(run) == 1:
        return {"time": label(run[0]), "reason": reason}
    step = float((run[1] - run[0]) / hours(1))
    return {"time": label(run[0]), "until": label(run[-1]), "step_hours": step, "reason": reason}


def _times(entry: Any) -> Times:
    if not isinstance(entry, dict):
        raise TypeError(f"{entry!r} is no entry")
    first, last = (np.datetime64(entry.get(key, entry["time"]), "ns") for key in ("time", "until"))
    step = hours(float(entry.get("step_hours", 1.0)))
    if np.isnat(first) or np.isnat(last) or not first <= last or not step > np.timedelta64(0):
        raise ValueError(f"{entry} is no time and no span of times")
    return time_range(first, last, step)


def _canonical(store: str) -> str:
    if "://" in store:
        return printable(store).rstrip("/")
    return store if store.startswith("asset:") else str(Path(store).resolve())


def _remedy(store: str) -> str:
    return f"write it again with `fuxi-ens data audit {store} --skip-list PATH`"
