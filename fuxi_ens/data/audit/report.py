"""What an audit says: plain values that become a table or JSON."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from fuxi_ens.data.skip import Reasons, entries
from fuxi_ens.times import Times, label

Severity = Literal["wrong", "skip", "note"]


@dataclass(frozen=True)
class Problem:
    """Something that is not as training needs it.

    `wrong` makes training wrong or impossible and must be mended; `skip` is cured by leaving times out; a `note` is
    only good to know.
    """

    severity: Severity
    what: str
    detail: str
    times: int = 0
    """How many times it concerns; 0 means the store."""
    first: str = ""
    last: str = ""

    @classmethod
    def at(cls, severity: Severity, what: str, detail: str, times: Times) -> "Problem":
        """A problem of some times."""
        return cls(severity, what, detail, len(times), label(np.min(times)), label(np.max(times)))


@dataclass(frozen=True)
class Extent:
    """What the store covers."""

    times: int
    first: str
    last: str
    step_hours: float
    """The most frequent distance of neighbors; 0 if there is one time only."""
    latitude: str
    longitude: str
    levels: tuple[int, ...]


@dataclass(frozen=True)
class VariableLayout:
    """How a variable lies on disk."""

    name: str
    dtype: str
    units: str
    dims: str
    chunk: str = ""
    """Sizes of the smallest piece that is decoded alone, and of the shard around it; empty for NetCDF and GRIB."""
    shard: str = ""
    chunk_bytes: int = 0
    """Of a decoded chunk."""


@dataclass(frozen=True)
class ChannelRange:
    """Numbers of a channel over the times that were read, model units."""

    name: str
    units: str
    low: float | None
    mean: float | None
    high: float | None
    missing_share: float
    """Of the points, average over the times."""


@dataclass(frozen=True)
class Audit:
    """The result."""

    store: str
    extent: Extent
    variables: tuple[VariableLayout, ...]
    channels: tuple[ChannelRange, ...]
    absent_channels: tuple[str, ...]
    """Of the model's 78."""
    problems: tuple[Problem, ...]
    looked_at: tuple[str, ...]
    """What was looked at, and what was not."""
    skip: Reasons

    @property
    def is_wrong(self) -> bool:
        """Whether something must be mended before training."""
        return any(problem.severity == "wrong" for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """For `json.dumps`; the times to skip as in the skip list."""
        plain = {key: value for key, value in vars(self).items() if key != "skip"}
        rows = {
            key: [asdict(item) if not isinstance(item, str) else item for item in value]
            for key, value in plain.items()
            if isinstance(value, tuple)
        }
        return {**plain, **rows, "extent": asdict(self.extent), "skip": entries(self.skip), "wrong": self.is_wrong}
