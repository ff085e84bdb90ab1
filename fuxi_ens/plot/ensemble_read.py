"""Chooses and reads what a picture of one forecast shows: one channel and lead time, or one grid point.

Nothing larger is ever in memory: a map costs all members of one field, a place costs its series.
"""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from fuxi_ens.channels import CHANNELS_78, HEADLINE, NEAR_GROUND_SPEED, channel, components
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.plot.fields import Case, Place, Stores, apart, read_place
from fuxi_ens.plot.snapshot import Snapshot
from fuxi_ens.times import hours, label
from fuxi_ens.verify.open import AnalysisStore, ForecastStore

log = logging.getLogger(__name__)

_HORIZONTAL = ("latitude", "longitude")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Open stores of which pictures are made, with the name of the system."""

    stores: Stores
    system: str

    @property
    def store(self) -> ForecastStore:
        """The ensembles."""
        return self.stores.forecast

    def with_members(self, count: int | None) -> "Forecast":
        """Only the first `count` members, with the control member as it is; all for None.

        Raises UserError for more than there are, or none.
        """
        if count is None:
            return self
        controls = self.store.numbers == self.store.control
        there = int((~controls).sum())
        if not 1 <= count <= there:
            raise UserError(f"{self.store.source} has {there} members, {count} were asked for")
        chosen = controls | ((~controls).cumsum() <= count)
        fewer = replace(self.store, dataset=self.store.dataset.isel(number=np.flatnonzero(chosen)))
        return replace(self, stores=replace(self.stores, forecast=fewer))

    def names(self) -> tuple[str, ...]:
        """Channels and wind speeds that the store holds."""
        return tuple(name for name in (*CHANNELS_78, *NEAR_GROUND_SPEED) if _holds(self.store, name))

    def name(self, asked: str) -> str:
        """A channel of the store. Raises UserError with the likely meaning and those there are."""
        there = self.names()
        if asked in there:
            return asked
        close = difflib.get_close_matches(asked, there, n=1)
        meaning = f"; did you mean {close[0]!r}?" if close else "."
        raise UserError(f"{self.store.source} has no channel {asked!r}{meaning} It has {', '.join(there) or 'none'}")

    def names_or_headline(self, asked: Sequence[str], *, surface: bool = False) -> tuple[str, ...]:
        """The channels asked for, or if none are those of the headline scorecard that the store has."""
        if asked:
            return tuple(self.name(name) for name in asked)
        usual = [name for name in HEADLINE if not surface or channel(components(name)[0]).level is None]
        there = tuple(name for name in usual if _holds(self.store, name))
        if not there:
            raise UserError(f"{self.store.source} has none of {', '.join(usual)}; name others with --channel")
        return there

    def init_time(self, asked: np.datetime64 | None) -> np.datetime64:
        """An init time of the store; the last one for None. Raises UserError with those there are."""
        there = self.store.init_times
        if asked is None:
            return np.datetime64(there.max(), "ns")
        if asked not in there:
            raise UserError(
                f"{self.store.source} has no forecast from {label(asked)}; it has {len(there)}, "
                f"{_some([label(time) for time in np.sort(there)])}"
            )
        found: np.datetime64 = asked.astype("datetime64[ns]")
        return found

    def lead_time(self, asked: float | None) -> np.timedelta64:
        """A lead time of the store, given in hours; the last one for None. Raises UserError with those there are."""
        there = self.store.lead_times
        if asked is None:
            return np.timedelta64(there.max(), "ns")
        if hours(asked) not in there:
            listed = [f"{lead / np.timedelta64(1, 'h'):g}" for lead in np.sort(there)]
            raise UserError(f"{self.store.source} has no lead time of {asked:g} h; it has {_some(listed)} h")
        return hours(asked)

    def snapshot(self, name: str, init_time: np.datetime64, lead_time: np.timedelta64) -> Snapshot:
        """Read one field of all members, and the truth if there is one at the valid time.

        Raises StoreError for members that are not written, UserError for a truth on another grid.
        """
        members = self.store.ensemble(name, init_time, np.array([lead_time])).squeeze("lead_time", drop=True)
        self._require_whole(members, name, init_time)
        members, control = apart(self.store, members.transpose("number", *_HORIZONTAL))
        truth = self.stores.truth
        shown = None
        if truth is not None and _covers(truth, init_time + lead_time):
            self._require_one_grid(truth)
            shown = truth.fields(name, np.array([init_time + lead_time])).squeeze("valid_time", drop=True)
        return Snapshot(name, self.system, init_time, lead_time, members, shown, control)

    def series(self, name: str, init_time: np.datetime64, place: Place) -> Case:
        """Read the grid point nearest to `place` at all lead times, as a case with one point.

        Truth and baseline are those at the same place, where they are there. Raises UserError for a place outside.
        """
        baseline = self.stores.baseline
        if baseline is not None and not (init_time in baseline.init_times and _holds(baseline, name)):
            log.info("%s has no %s from %s; drawn without it", baseline.source, name, label(init_time))
            baseline = None
        stores = replace(self.stores, baseline=baseline)
        case = read_place(stores, name, init_time, np.sort(self.store.lead_times), place)
        self._require_whole(case.forecast, name, init_time)
        if case.control is not None:
            self._require_whole(case.control.expand_dims("number"), name, init_time)
        return case

    def _require_whole(self, members: xr.DataArray, name: str, init_time: np.datetime64) -> None:
        """Points without a value are legal only where all members of a sea temperature lack them."""
        absent = members.isnull()
        if channel(components(name)[0]).variable.may_be_missing and not (absent != absent.isel(number=0)).any():
            return
        count = int(absent.any([dim for dim in absent.dims if dim != "number"]).sum())
        if count:
            raise StoreError(
                f"{self.store.source}: {count} of {members.sizes['number']} members of {name} from {label(init_time)} "
                "have points without a value; is the forecast finished?"
            )

    def _require_one_grid(self, truth: AnalysisStore) -> None:
        if truth.grid != self.store.grid:
            raise UserError(
                f"the truth {truth.source} is on the grid {truth.grid}, the forecast on {self.store.grid}; name one "
                "on the same grid with --truth, or draw without one with --no-truth"
            )


def _holds(store: ForecastStore, name: str) -> bool:
    try:
        store.require((name,))
    except StoreError:
        return False
    return True


def _covers(truth: AnalysisStore, valid_time: np.datetime64) -> bool:
    there = bool(np.isin(valid_time, truth.valid_times))
    if not there:
        log.info("%s ends before or begins after %s; drawn without a truth", truth.source, label(valid_time))
    return there


def _some(listed: Sequence[str]) -> str:
    """All of a short list; the ends of a long one."""
    return ", ".join(listed) if len(listed) <= 6 else f"{listed[0]}, {listed[1]}, ... {listed[-1]}"
