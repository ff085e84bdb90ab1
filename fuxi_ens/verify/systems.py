"""The systems that are compared, each giving ensembles [number, latitude, longitude].

The forecast and the baseline are stores; persistence and `climatology` are made from the truth.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import numpy as np

from fuxi_ens.channels import SUMS_24H
from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.stores.sums import parts_of, whole
from fuxi_ens.times import Leads
from fuxi_ens.verify.open import AnalysisStore, ForecastStore
from fuxi_ens.verify.points import Field

Role = Literal["forecast", "baseline", "other", "single", "climatology", "persistence"]
"""`other`: a further ensemble; `single`: a further forecast of one member."""
ROLES: Final[frozenset[Role]] = frozenset(get_args(Role))
ENSEMBLES: Final[frozenset[Role]] = frozenset({"forecast", "baseline", "other"})
"""Those that are made of members from an init time."""

_scratch = (Scratch(), Scratch())


class System(Protocol):
    """Something that gives an ensemble for every scored (init_time, lead_time)."""

    @property
    def name(self) -> str:
        """Name in files and tables."""

    @property
    def role(self) -> Role:
        """Its part in the comparison."""

    @property
    def source(self) -> str:
        """Store the ensembles come from."""

    @property
    def truth(self) -> AnalysisStore:
        """Analysis it is verified against."""

    def offered(self, name: str, init_time: np.datetime64, lead_times: Leads) -> Leads:
        """Those of `lead_times` at which the system and its truth have a scored name; of a sum, all of its parts."""

    def held(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the scored `names` that the system has."""

    def ensembles(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Field]:
        """Members [number, latitude, longitude] of a scored name for one of `lead_times` after the other.

        An array holds until the thread asks for the next one of the same `slot`, 0 or 1: its memory is used again.
        """

    @property
    def ensemble_bytes(self) -> int:
        """Memory of one field of all members, at most."""

    def bytes_at_work(self, names: tuple[str, ...]) -> int:
        """Memory that one thread needs for `ensembles` of one slot, at most."""


@dataclass(frozen=True)
class EnsembleSystem:
    """An ensemble read from a store."""

    name: str
    role: Role
    store: ForecastStore
    truth: AnalysisStore

    @property
    def source(self) -> str:
        """Store the ensembles come from."""
        return self.store.source

    def offered(self, name: str, init_time: np.datetime64, lead_times: Leads) -> Leads:
        """Those of `lead_times` that are in the store."""
        return forecast_leads(name, verifiable(name, init_time, lead_times, self.truth), self.store.lead_times)

    def held(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those whose fields are in the store and in the truth."""
        return self.truth.held(self.store.held(names))

    def ensembles(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Field]:
        """Each is decoded into the same memory."""
        out = _scratch[slot].take((self.store.members, *self.truth.shape), np.float32)
        for lead_time in lead_times:
            self.store.ensemble_into(name, init_time, lead_time, out)
            yield out

    @property
    def ensemble_bytes(self) -> int:
        """Memory of one field of all members."""
        return self.store.members * self.truth.field_bytes

    def bytes_at_work(self, names: tuple[str, ...]) -> int:
        """One field of all members, and what the reader needs."""
        return self.ensemble_bytes + self.store.scratch_bytes(self.held(names))


@dataclass(frozen=True)
class Persistence:
    """The truth at init_time for all lead times: one member, so its CRPS is its absolute error."""

    truth: AnalysisStore
    name: str = "persistence"
    role: Role = "persistence"

    @property
    def source(self) -> str:
        """The truth's store."""
        return self.truth.source

    def offered(self, name: str, init_time: np.datetime64, lead_times: Leads) -> Leads:
        """All of them; no 24 h sums where the truth does not hold the 24 h before init_time."""
        if not whole(name, np.array([init_time]), self.truth.valid_times)[0]:
            return lead_times[:0]
        return verifiable(name, init_time, lead_times, self.truth)

    def held(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """All of them."""
        return names

    def ensembles(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Field]:
        """The same field every time."""
        field = self.truth.fields(name, np.array([init_time])).to_numpy()
        return itertools.repeat(field, len(lead_times))

    @property
    def ensemble_bytes(self) -> int:
        """One field."""
        return self.truth.field_bytes

    def bytes_at_work(self, names: tuple[str, ...]) -> int:
        """One field."""
        return self.ensemble_bytes


def verifiable(name: str, init_time: np.datetime64, lead_times: Leads, truth: AnalysisStore) -> Leads:
    """Those of `lead_times` at which a scored name lies after init_time and in the truth as a whole.

    The truth holds the valid times themselves (`sample.common_sample`); of a 24 h sum it must hold all parts.
    """
    if name not in SUMS_24H:
        return lead_times
    after = np.min(parts_of(name, lead_times), axis=0) > np.timedelta64(0)
    known: Leads = lead_times[after & whole(name, init_time + lead_times, truth.valid_times)]
    return known


def forecast_leads(name: str, lead_times: Leads, stored: Leads) -> Leads:
    """Those of `lead_times` at which a forecast with the lead times `stored` has a scored name."""
    return lead_times[whole(name, lead_times, stored)]
