"""What a climatology is made of: fields, dates, and the units of work they are cut into."""

import hashlib
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fuxi_ens import channels as vocabulary
from fuxi_ens.config import Config, Period
from fuxi_ens.data.reading import Reading
from fuxi_ens.stores.climatology import DAYS, array_name
from fuxi_ens.times import Times

Kind = Literal["moments", "quantiles", "categories"]

_SCRATCH_BYTES: Final = 2**32
"""A unit takes all hours of the day together while its scratch files stay below this."""
_BLOCK_BYTES: Final = 2**28
"""Memory of a task that gathers days, unless a single day needs more."""
_MOST_DAYS: Final = 92
"""Days gathered by one task at most, so that small grids keep several workers busy."""
_CHUNK_BYTES: Final = 2**18
"""Size of a chunk on disk: a band of latitudes of one day, or whole fields of several days."""
_SAMPLE_BYTES: Final = 28
"""Memory per point and day while moments are gathered: a frame in float32, three sums in float64."""


@dataclass(frozen=True)
class Dates:
    """Days of the year by year and hour, with the analyses that stand for them."""

    times: Times
    """[hour, day, year]; day 366 of a year that has none is its day 365 (verification.md 5.1)."""
    present: NDArray[np.bool_]
    """Which of them are in the periods and not skipped, [hour, day, year]."""

    @classmethod
    def of(cls, used: Times, hours: tuple[int, ...]) -> "Dates":
        """The dates of the years of `used`, which are the times that may be averaged."""
        years = np.unique(pd.DatetimeIndex(used).year)
        first = pd.to_datetime([f"{year}-01-01" for year in years]).to_numpy()
        length = np.where(pd.DatetimeIndex(first).is_leap_year, DAYS, DAYS - 1)
        day = np.minimum(np.arange(DAYS)[:, None], length - 1)
        dates = first + day * np.timedelta64(24, "h")
        offsets = np.array(hours)[:, None, None] * np.timedelta64(1, "h")
        times = (dates + offsets).astype("datetime64[ns]")
        return cls(times, np.isin(times, used))


@dataclass(frozen=True)
class Unit:
    """Fields that are gathered together: one variable with its levels, some hours of the day."""

    kind: Kind
    name: str
    """A scored name of the variable."""
    channels: tuple[str, ...]
    """What is read: the levels of the variable, or of the components of a speed, one component after the other."""
    levels: tuple[int, ...]
    """Positions on the level axis of the store, in the order of `channels`; empty for a surface field."""
    hours: tuple[int, ...]
    """Positions on the hour axis of the store."""

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.kind}-{array_name(self.name)}-{'_'.join(map(str, self.hours))}"

    @property
    def is_speed(self) -> bool:
        """Whether its samples are wind speeds of two components."""
        return self.name in vocabulary.DERIVED_SPEED

    @property
    def fields(self) -> int:
        """Fields per time: levels, or 1."""
        return max(len(self.levels), 1)

    @property
    def to_file(self) -> float:
        """Factor from model units to file units."""
        return 1.0 / vocabulary.channel(self.channels[0]).variable.to_model


@dataclass(frozen=True)
class Plan:
    """All that decides a climatology."""

    store: str
    hours: tuple[int, ...]
    levels: tuple[int, ...]
    height: int
    width: int
    dates: Dates
    moments: tuple[str, ...]
    """Channels, derived speeds and sums with mean and standard deviation."""
    quantiles: tuple[str, ...]
    """Those with quantiles."""
    categories: tuple[str, ...]
    """Amounts of precipitation with dry share and heavy amount."""
    probabilities: tuple[float, ...]
    window_days: int

    @classmethod
    def of(cls, config: Config, used: Times) -> "Plan":
        """The plan of config.climatology for the times that may be averaged."""
        settings, model = config.climatology, config.model
        with_quantiles = tuple(n for n in config.climatology_channels if n in settings.quantile_channels)
        step = int(config.data.step_size / np.timedelta64(1, "h"))
        hours = tuple(range(0, 24, step))
        levels = {vocabulary.channel(name).level for name in config.climatology_channels} - {None}
        return cls(
            store=config.data.store,
            hours=hours,
            levels=tuple(sorted(level for level in levels if level is not None)),
            height=model.height,
            width=model.width,
            dates=Dates.of(used, hours),
            moments=(*config.climatology_channels, *config.climatology_derived),
            quantiles=_with_derived(with_quantiles, config) if settings.quantiles else (),
            categories=config.climatology_categories,
            probabilities=settings.quantiles,
            window_days=settings.window_days,
        )

    @property
    def identity(self) -> str:
        """A name for all that decides the numbers."""
        settings: tuple[object, ...] = (self.store, self.moments, self.quantiles, self.probabilities, self.window_days)
        settings += (self.categories,) if self.categories else ()
        digest = hashlib.sha256(repr((*settings, self.hours, self.height, self.width)).encode())
        digest.update(self.dates.times.astype("<M8[ns]").tobytes() + self.dates.present.tobytes())
        return digest.hexdigest()[:16]

    @property
    def units(self) -> list[Unit]:
        """Units in the order of work."""
        contents: dict[Kind, tuple[str, ...]] = {
            "moments": self.moments,
            "quantiles": self.quantiles,
            "categories": self.categories,
        }
        return [
            unit
            for kind, names in contents.items()
            for _, group in groupby(names, key=array_name)
            for unit in self._units_of(kind, tuple(group))
        ]

    @property
    def band(self) -> int:
        """Latitudes in a chunk: bands as equal as they can be."""
        bands = -(-self.height * self.width * 4 // _CHUNK_BYTES)
        return -(-self.height // min(bands, self.height))

    @property
    def days_per_chunk(self) -> int:
        """Days that lie together in a chunk, more than one at small grids; divides the days of the year."""
        most = _CHUNK_BYTES // (4 * self.band * self.width)
        return max(days for days in range(1, DAYS + 1) if DAYS % days == 0 and days <= max(most, 1))

    def days_per_task(self, unit: Unit) -> int:
        """Days of the year that one task gathers."""
        points = len(unit.channels) * self.height * self.width * len(unit.hours)
        day = points * (_SAMPLE_BYTES if unit.kind == "moments" else 4 * self.dates.times.shape[2])
        return min(max(_BLOCK_BYTES // day, 1), _MOST_DAYS)

    def scratch_bytes(self, unit: Unit) -> int:
        """Size of the files between gathering and the window."""
        per_date = 3 if unit.kind == "moments" else self.dates.times.shape[2]
        return 4 * DAYS * len(unit.hours) * per_date * unit.fields * self.height * self.width

    def _units_of(self, kind: Kind, names: tuple[str, ...]) -> list[Unit]:
        parts = list(zip(*(vocabulary.components(name) for name in names), strict=True))
        stored = [vocabulary.channel(name).level for name in parts[0]]
        levels = tuple(self.levels.index(level) for level in stored if level is not None)
        channels = tuple(name for part in parts for name in part)
        whole = Unit(kind, names[0], channels, levels, tuple(range(len(self.hours))))
        if self.scratch_bytes(whole) <= _SCRATCH_BYTES:
            return [whole]
        return [Unit(kind, names[0], channels, levels, (hour,)) for hour in whole.hours]


@dataclass(frozen=True)
class Place:
    """What every task is told: how to read, what to do, and where its files lie."""

    plan: Plan
    unit: Unit
    reading: Reading
    scratch: str
    """Folder of the unit's files between gathering and the window."""
    store: str
    """The climatology under construction."""


def _with_derived(channels: tuple[str, ...], config: Config) -> tuple[str, ...]:
    have = set(channels)
    return (*channels, *(n for n in config.climatology_derived if have.issuperset(vocabulary.components(n))))


def times_of(periods: tuple[Period, ...], available: Times) -> Times:
    """Those of `available` inside any of the periods."""
    inside: Times = available[np.any([period.contains(available) for period in periods], axis=0)]
    return inside
