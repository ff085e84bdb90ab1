"""From what was seen at single times to problems, times to skip, and ranges of channels."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from fuxi_ens.channels import channel
from fuxi_ens.data.audit.fields import Seen
from fuxi_ens.data.audit.report import ChannelRange, Problem, Severity
from fuxi_ens.data.plausible import Finding
from fuxi_ens.times import Times, label

_MASK_TOLERANCE: Final = 0.02
"""By which share of the points the land in the sea temperature may differ from its median."""
_SINGLE: Final = 2
_SINGLE_SHARE: Final = 0.02
"""A finding at so few of the times is a damaged field; at more of them the store is wrong."""
_NAMED: Final = 6


class Observations:
    """Collects what was seen, time by time, in bounded memory."""

    def __init__(self, channels: tuple[str, ...], times: Times) -> None:
        self._channels, self._times = channels, times
        self.count = 0
        self._low = np.full(len(channels), np.inf)
        self._high = np.full(len(channels), -np.inf)
        self._mean = np.zeros(len(channels))
        self._with_values = np.zeros(len(channels), np.int64)
        self._missing = np.zeros(len(channels))
        self._states: dict[tuple[str, tuple[str, ...]], list[np.datetime64]] = defaultdict(list)
        self._partly: dict[str, list[tuple[np.datetime64, float]]] = defaultdict(list)
        self._damage: dict[str, list[np.datetime64]] = defaultdict(list)
        self._findings: dict[tuple[str, str], list[tuple[np.datetime64, Finding]]] = defaultdict(list)

    def add(self, seen: Seen) -> None:
        """Take what was seen at one time."""
        self.count += 1
        present = ~np.isnan(seen.mean)
        self._low, self._high = np.fmin(self._low, seen.low), np.fmax(self._high, seen.high)
        self._mean += np.where(present, seen.mean, 0.0)
        self._with_values += present
        self._missing += seen.missing
        time = self._times[seen.position]
        self._sort(seen, time)
        for reason in dict.fromkeys(seen.damage.values()):
            self._damage[reason].append(time)
        for finding in seen.findings:
            self._findings[finding.check, finding.cause].append((time, finding))

    def ranges(self) -> tuple[ChannelRange, ...]:
        """Ranges of the channels over all that was added."""
        return tuple(self._range(i) for i in range(len(self._channels)))

    def problems(self) -> Iterator[tuple[Problem, Times]]:
        """Problems, each with its times; those of severity `skip` are to be left out."""
        for reason, when in self._damage.items():
            yield self._problem("skip", "damaged chunk", reason, when)
        for (what, names), when in self._states.items():
            severity: Severity = "wrong" if self._is_everywhere(when) else "skip"
            yield self._problem(severity, what, names_of(names), when)
        for name, shares in self._partly.items():
            yield from self._partly_missing(name, shares)
        for (check, _), found in self._findings.items():
            when = [time for time, _ in found]
            single = len(when) <= max(_SINGLE, _SINGLE_SHARE * self.count) and 2 * len(when) < self.count
            yield self._problem("skip" if single else "wrong", check, str(found[0][1]), when)

    def _sort(self, seen: Seen, time: np.datetime64) -> None:
        """What single fields lack."""
        states: dict[str, list[str]] = defaultdict(list)
        for i, name in enumerate(self._channels):
            if name in seen.damage:
                continue
            if seen.missing[i] == 1.0:
                states["no value at any point"].append(name)
            elif seen.low[i] == seen.high[i]:
                states[f"the value {seen.low[i]:.6g} at every point"].append(name)
            elif seen.missing[i] > 0 or channel(name).variable.may_be_missing:
                self._partly[name].append((time, float(seen.missing[i])))
        for what, names in states.items():
            self._states[what, tuple(names)].append(time)

    def _partly_missing(self, name: str, shares: list[tuple[np.datetime64, float]]) -> Iterator[tuple[Problem, Times]]:
        usual = float(np.median([share for _, share in shares])) if channel(name).variable.may_be_missing else 0.0
        tolerance = _MASK_TOLERANCE if usual else 0.0
        odd = [(time, share) for time, share in shares if abs(share - usual) > tolerance]
        if odd:
            when = [time for time, _ in odd]
            instead = f", usually {usual:.1%}" if usual else ""
            detail = f"{name}: {odd[0][1]:.1%} of the points have no value at {label(when[0])}{instead}"
            yield self._problem("wrong" if self._is_everywhere(when) else "skip", "missing points", detail, when)

    def _is_everywhere(self, when: list[np.datetime64]) -> bool:
        return self.count > 1 and 2 * len(when) > self.count

    def _problem(self, severity: Severity, what: str, detail: str, when: list[np.datetime64]) -> tuple[Problem, Times]:
        times = np.unique(np.array(when, dtype="datetime64[ns]"))
        return Problem.at(severity, what, detail, times), times

    def _range(self, i: int) -> ChannelRange:
        name, count = self._channels[i], int(self._with_values[i])
        return ChannelRange(
            name,
            channel(name).variable.model_units,
            low=float(self._low[i]) if count else None,
            mean=float(self._mean[i]) / count if count else None,
            high=float(self._high[i]) if count else None,
            missing_share=float(self._missing[i]) / max(self.count, 1),
        )


def names_of(names: tuple[str, ...]) -> str:
    """The first of some channels, and how many more there are."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
