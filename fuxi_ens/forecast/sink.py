"""Where a forecast goes: whatever takes the members lead time by lead time, keeps what it needs and forgets the rest.

The ensemble store is one sink; scores that are taken while the forecast runs are another.

Shape legend: M members, C channels, H latitude, W longitude.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from fuxi_ens.config import Config
from fuxi_ens.data.era5 import Frames
from fuxi_ens.times import label


@dataclass(frozen=True, slots=True)
class WorkItem:
    """What is made and counted as a whole: a block of members from one init time, over all lead times."""

    init_time: np.datetime64
    numbers: range
    """Members of the block."""

    def __str__(self) -> str:
        last = self.numbers[-1]
        members = f"member {last}" if len(self.numbers) == 1 else f"members {self.numbers[0]} to {last}"
        return f"{label(self.init_time)}, {members}"


@dataclass(frozen=True, slots=True)
class FailedMember:
    """A member that was given up; from some lead time on its fields are NaN."""

    number: int
    reason: str
    """Variable, level, lead time and place, as a user should read it."""


def write_note(failed: Sequence[FailedMember]) -> bytes:
    """The members as what a sink keeps beside what it finished; empty for none."""
    return json.dumps([asdict(member) for member in failed]).encode() if failed else b""


def read_note(note: bytes) -> tuple[FailedMember, ...]:
    """The members of `write_note`."""
    return tuple(FailedMember(**member) for member in json.loads(note)) if note else ()


@dataclass(frozen=True)
class ForecastPlan:
    """What a sink has to know before the first field comes."""

    config: Config
    channels: tuple[str, ...]
    """Of the frames, in tensor order."""
    items: tuple[WorkItem, ...]
    """All of the run, in order, whoever makes them."""
    attributes: dict[str, Any]
    """Provenance: settings, analysis and weights that decide the fields. Equal runs have equal ones."""


class Sink(Protocol):
    """Takes the fields of one item after the other.

    For each item: `begin`, then `write` for all lead times in order, for each lead time all members of the item once,
    in one call or several, then `finish`. An item that is begun and never finished was given up; it is begun anew in a
    later run, with equal fields.
    """

    def is_finished(self, item: WorkItem) -> bool:
        """Whether nothing of this item is needed any more; an item that all sinks have is not made again."""

    def begin(self, item: WorkItem) -> None:
        """Get ready for an item; what an earlier attempt at it left is void."""

    def write(self, item: WorkItem, lead: int, numbers: Sequence[int], ens_MCHW: Frames) -> None:
        """Take some members of the item at lead time index `lead`.

        Args:
            item: The one that was begun last.
            lead: Index of the lead time, from 0.
            numbers: Which members, [M].
            ens_MCHW: Their fields in model units, all channels of the plan. May be kept: nobody changes them any more.
        """

    def finish(self, item: WorkItem, failed: Sequence[FailedMember] = ()) -> None:
        """All fields of the item were given. Work may go on behind this call, until `close` at the latest."""

    def given_up(self, item: WorkItem) -> tuple[FailedMember, ...]:
        """Members that a finished item lacks, in whatever run it was made."""

    def close(self) -> None:
        """Finish all work behind the calls; raises what went wrong in it. Called once, after an error elsewhere too."""


OpenSink = Callable[[ForecastPlan], Sink]
"""Makes a sink for a run. Raises UserError when it cannot take what the plan holds."""
