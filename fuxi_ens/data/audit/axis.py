"""The time axis of a store: order, duplicates, gaps, and what lies outside the period that the store calls valid."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.data.audit.report import Problem
from fuxi_ens.errors import StoreError
from fuxi_ens.times import Times, hours, label, time_range

_LISTED = 3


@dataclass
class AxisReport:
    """What is known from the time axis and the attributes alone."""

    step: np.timedelta64
    """The most frequent distance of neighbors, 0 for a single time."""
    inside: NDArray[np.bool_]
    """[time], whether the store calls the time valid."""
    problems: list[Problem] = field(default_factory=list)
    skip: dict[np.datetime64, str] = field(default_factory=dict)


def audit_axis(times: Times, attributes: dict[str, Any], source: str) -> AxisReport:
    """Judge the stored times. Raises StoreError when there are none, or attributes that are no dates."""
    if not len(times) or np.isnat(times).any():
        raise StoreError(
            f"{source} holds {len(times)} times, {np.isnat(times).sum()} of them undefined; write it again"
        )
    distinct, counts = np.unique(times, return_counts=True)
    report = AxisReport(_step(distinct), np.ones(len(times), bool))
    _order(times, report)
    repeated = distinct[counts > 1]
    if len(repeated):
        extra = int(counts.sum() - len(distinct))
        detail = f"{_list(repeated)} stored more than once, {extra} times too many; keep one of each"
        report.problems.append(Problem.at("wrong", "duplicate times", detail, repeated))
    _gaps(distinct, report)
    _validity(times, attributes, report, source)
    return report


def _step(distinct: Times) -> np.timedelta64:
    if len(distinct) < 2:
        return np.timedelta64(0, "ns")
    steps, counts = np.unique(np.diff(distinct), return_counts=True)
    most_frequent: np.timedelta64 = steps[np.argmax(counts)]
    return most_frequent


def _order(times: Times, report: AxisReport) -> None:
    back = np.flatnonzero(np.diff(times) < np.timedelta64(0))
    if len(back):
        places = ", ".join(f"{label(times[i + 1])} after {label(times[i])}" for i in back[:_LISTED])
        detail = f"time runs backwards at {len(back)} places: {places}; write the store in order of time"
        report.problems.append(Problem.at("wrong", "times out of order", detail, times[back + 1]))


def _gaps(distinct: Times, report: AxisReport) -> None:
    distances = np.diff(distinct)
    for i in np.flatnonzero(distances > report.step):
        missing = time_range(distinct[i], distinct[i + 1], report.step)[1:]
        missing = missing[missing < distinct[i + 1]]
        if not len(missing):
            continue
        detail = f"no time between {label(distinct[i])} and {label(distinct[i + 1])}"
        report.problems.append(Problem.at("skip", "gap", detail, missing))
        report.skip |= dict.fromkeys(missing, "not in the store")
    irregular = np.unique(distinct[:-1][distances % max(report.step, np.timedelta64(1, "ns")) != np.timedelta64(0)])
    if len(irregular):
        detail = f"after {_list(irregular)} the next time is no multiple of {report.step / hours(1):g} h later"
        report.problems.append(Problem.at("note", "irregular steps", detail, irregular))


def _validity(times: Times, attributes: dict[str, Any], report: AxisReport, source: str) -> None:
    """Attributes of ARCO-ERA5: its axis begins before its data, and ends after them."""
    start, stop, preliminary = (
        _date(attributes.get(f"valid_time_{name}"), name, source) for name in ("start", "stop", "stop_era5t")
    )
    late = preliminary if preliminary is not None else stop
    rules = []
    if start is not None:
        rules.append((times < start, "before valid_time_start", start))
    if late is not None:
        rules.append((times > late, "after valid_time_stop" + ("_era5t" if late is preliminary else ""), late))
    if stop is not None and preliminary is not None:
        rules.append(((times > stop) & (times <= preliminary), "preliminary ERA5T, after valid_time_stop", stop))
    for outside, words, limit in rules:
        if outside.any():
            detail = f"{words} {label(limit)}, where the store holds no final data"
            report.problems.append(Problem.at("skip", "outside the valid period", detail, times[outside]))
            report.skip |= dict.fromkeys(times[outside], words)
            report.inside &= ~outside


def _date(value: Any, name: str, source: str) -> np.datetime64 | None:
    """The limit as a time; a `stop` without an hour means the whole day."""
    if value is None:
        return None
    try:
        moment = np.datetime64(str(value).removesuffix("Z"))
    except ValueError as error:
        raise StoreError(f"{source}: attribute valid_time_{name} is {value!r}, expected a date ({error})") from error
    whole_day = name != "start" and np.datetime_data(moment.dtype)[0] == "D"
    end = moment + np.timedelta64(1, "D") if whole_day else moment
    exact: np.datetime64 = end.astype("datetime64[ns]") - (np.timedelta64(1, "m") if whole_day else np.timedelta64(0))
    return exact


def _list(times: Times) -> str:
    more = f" and {len(times) - _LISTED} more" if len(times) > _LISTED else ""
    return ", ".join(map(label, times[:_LISTED])) + more
