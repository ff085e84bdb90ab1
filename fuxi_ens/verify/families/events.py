"""Events beyond climatological quantiles and above fixed amounts of precipitation (verification.md 9, 10).

Kept are the two tables from which all scores of probabilities follow (`fuxi_ens.verify.events`).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.channels import PRECIPITATION, channel, components
from fuxi_ens.config import VerifyConfig
from fuxi_ens.grid import Float
from fuxi_ens.verify import events
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.consistency import consistency
from fuxi_ens.verify.families.base import Family, climatology_of
from fuxi_ens.verify.families.quantiles import is_above, labels, probability
from fuxi_ens.verify.pieces import Piece, event_tables
from fuxi_ens.verify.pooling import by_estimator, pooled_sum
from fuxi_ens.verify.systems import ENSEMBLES, Role

_CLASSES = 10
_CHANCE = 0.05
"""Share of the points of a reliable forecast that lie outside of the consistency bars."""
_RATIOS = np.geomspace(0.005, 0.95, 40)
"""Cost / loss ratios at which value is given."""


class Event(NamedTuple):
    """Where values are beyond a threshold, and where that is asked."""

    threshold: NDArray[np.floating]
    """[latitude, longitude]"""
    above: bool
    asked: NDArray[np.bool_]
    """[latitude, longitude]"""


class EventRows:
    """Points of each row by the number of members in an event."""

    def __init__(self, block: Block, events: Sequence[Event]) -> None:
        self._events = [event._replace(asked=event.asked & block.valid) for event in events]
        self._columns = block.areas.columns
        self.by_row = np.zeros((len(events), 2, len(self._columns), len(block.truth), block.members + 1))
        """[event, table, set of columns, latitude, count]: all points, and those where the event occurred"""

    def add(self, piece: Piece) -> None:
        """Count the members of a piece."""
        for event, tables in zip(self._events, self.by_row, strict=True):
            where = event.threshold, event.above, event.asked
            event_tables(piece.ensemble, piece.truth, *where, self._columns, piece.rows, tables)


class EventTables(Family):
    """What families of events share; `prefix` is the name of the tables and of the dimension."""

    prefix: ClassVar[str]
    # The members of a climatology vary in number, and persistence has one.
    roles: ClassVar[frozenset[Role]] = ENSEMBLES

    @abstractmethod
    def labels(self) -> Sequence[str]:
        """One per event."""

    @abstractmethod
    def events_of(self, block: Block) -> Sequence[Event] | None:
        """In the order of `labels`; None for a name that has none."""

    @classmethod
    def reference(cls, event: str) -> float | None:
        """Probability of the event in the climatology; None: that of the sample."""
        return None

    @classmethod
    def has_events(cls, name: str) -> bool:
        """Whether a scored name has any."""
        return True

    def coordinates(self, members: int) -> Mapping[str, NDArray[Any]]:
        """Labels of the events, and 0 to M members."""
        return {self.prefix: np.array(self.labels()), events.COUNT: np.arange(members + 1)}

    def row_sums(self, block: Block) -> "EventRows":
        """Tables of each row."""
        return EventRows(block, self.events_of(block) or ())

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Both tables, [region, event, count]; points outside of the event's mask have weight 0."""
        by_row = block.summed(self.name, lambda: self.row_sums(block)).by_row
        if not len(by_row):
            empty = np.zeros((len(block.areas.regions), len(self.labels()), block.members + 1))
            return dict.fromkeys(self.sums, empty)
        tables = [[block.areas.of_rows(table) for table in event] for event in by_row]
        return {name: np.stack([pair[k] for pair in tables], axis=1) for k, name in enumerate(self.sums)}

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """For each event Brier score, its skill and parts, ROC area, and the observed frequency."""
        pooled = cls._pooled(data)
        result: dict[str, xr.DataArray] = {}
        for event in pooled.forecasts[cls.prefix].values:
            table = events.Tables(*(part.sel({cls.prefix: event}, drop=True) for part in pooled))
            result.update({f"{score}_{event}": value for score, value in cls._of_event(table, event, data).items()})
        return result

    @classmethod
    def _of_event(cls, table: events.Tables, event: str, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        reliability, resolution, uncertainty = events.murphy(table)
        brier, skill = (
            by_estimator(fair, standard, data)
            for fair, standard in (
                [events.brier_score(table, fair) for fair in (True, False)],
                [events.brier_skill(table, cls.reference(event), fair) for fair in (True, False)],
            )
        )
        return {
            "brier": brier,
            "brier_skill": skill,
            "reliability": reliability,
            "resolution": resolution,
            "uncertainty": uncertainty,
            "roc_area": events.roc_area(table),
            "base_rate": table.base_rate,
        }

    @classmethod
    def curves(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Reliability in ten classes with consistency bars, ROC and value, with the event as a further dimension."""
        table = cls._pooled(data)
        reliability = events.reliability_curve(table, _CLASSES)
        hit, alarm = events.roc(table)
        curves = {
            **{f"reliability_{name}": curve for name, curve in reliability.data_vars.items()},
            "reliability_consistency": cls._consistency(data, reliability["observed_frequency"]),
            "roc_hit_rate": hit,
            "roc_false_alarm_rate": alarm,
            "relative_value": events.relative_value(table, _RATIOS),
        }
        return {f"{cls.prefix}_{name}": curve for name, curve in curves.items()}

    @classmethod
    def _consistency(cls, data: xr.Dataset, curve: xr.DataArray) -> xr.DataArray:
        """Of each point of `curve`; name by name and lead time by lead time, because tables of init times are large."""
        if not curve.size:
            return curve
        by_name = []
        for name in curve["name"].values:
            at = [data[[*cls.sums]].sel(name=name, lead_time=lead_time) for lead_time in data["lead_time"].values]
            halves = [consistency(events.Tables(*(one[part] for part in cls.sums)), _CLASSES, _CHANCE) for one in at]
            by_name.append(xr.concat(halves, data["lead_time"]))
        return xr.concat(by_name, curve["name"])

    @classmethod
    def _pooled(cls, data: xr.Dataset) -> events.Tables:
        named = data.sel(name=[name for name in data["name"].values if cls.has_events(name)])
        return events.Tables(*(pooled_sum(named[name], named["weight"]) for name in cls.sums))


@dataclass(frozen=True)
class QuantileEvents(EventTables):
    """Strictly above a high or below a low quantile of the climatology of the valid time.

    Left out are points without a quantile, and those where precipitation is so rare that the quantile is zero: nothing
    lies below it, and above it the event would be "any rain". The mask is that of the climatology, the same for all
    systems.
    """

    quantiles: tuple[float, ...]

    name = "events"
    prefix = "quantile_event"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        dict.fromkeys(("event_forecasts", "event_occurrences"), ("quantile_event", events.COUNT))
    )
    needs_climatology = True

    @classmethod
    def from_config(cls, section: VerifyConfig) -> Self:
        """The quantiles of `verify.event_quantiles`."""
        return cls(section.event_quantiles)

    def labels(self) -> Sequence[str]:
        """above_q90, below_q10, ..."""
        return labels(self.quantiles)

    def events_of(self, block: Block) -> Sequence[Event] | None:
        """One per quantile."""
        return [self._event(block, quantile) for quantile in self.quantiles]

    def _event(self, block: Block, quantile: float) -> Event:
        threshold = climatology_of(block).quantile(quantile)
        dry = (threshold <= 0) if block.name in PRECIPITATION else np.zeros(threshold.shape, bool)
        return Event(threshold, is_above(quantile), ~(np.isnan(threshold) | dry))

    @classmethod
    def reference(cls, event: str) -> float | None:
        """0.1 for above_q90 and below_q10."""
        return probability(float(event.rpartition("q")[2]) / 100)


@dataclass(frozen=True)
class PrecipitationEvents(EventTables):
    """Precipitation over 6 h or 24 h strictly above fixed amounts; the reference is the frequency in the sample."""

    amounts_mm: tuple[float, ...]

    name = "precipitation_events"
    prefix = "amount_event"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        dict.fromkeys(("amount_forecasts", "amount_occurrences"), ("amount_event", events.COUNT))
    )

    @classmethod
    def from_config(cls, section: VerifyConfig) -> Self:
        """The amounts of `verify.precipitation_amounts_mm`."""
        return cls(section.precipitation_amounts_mm)

    def labels(self) -> Sequence[str]:
        """above_1mm, ..."""
        return [f"above_{amount:g}mm" for amount in self.amounts_mm]

    def events_of(self, block: Block) -> Sequence[Event] | None:
        """One per amount, in file units; None for anything but precipitation."""
        if block.name not in PRECIPITATION:
            return None
        factor = channel(components(block.name)[0]).variable.to_model
        everywhere = np.ones(block.truth.shape, bool)
        return [
            Event(np.full(block.truth.shape, amount / factor, block.truth.dtype), True, everywhere)
            for amount in self.amounts_mm
        ]

    @classmethod
    def has_events(cls, name: str) -> bool:
        """Precipitation only."""
        return name in PRECIPITATION
