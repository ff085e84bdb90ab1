"""The systems that are compared, each giving ensembles [number, latitude, longitude].

The forecast and the baseline are stores; persistence and `climatology` are made from the truth.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import numpy as np

from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.times import Leads
from fuxi_ens.verify.open import AnalysisStore, ForecastStore
from fuxi_ens.verify.points import Field

Role = Literal["forecast", "baseline", "climatology", "persistence"]
ROLES: Final[frozenset[Role]] = frozenset(get_args(Role))

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

    def offered(self, lead_times: Leads) -> Leads:
        """Those of `lead_times` that the system has."""

    def ensembles(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Field]:
        """Members [number, latitude, longitude] of a scored name for one of `lead_times` after the other.

        An array holds until the thread asks for the next one of the same `slot`, 0 or 1: its memory is used again.
        """

    def bytes_at_work(self, names: tuple[str, ...]) -> int:
        """Memory that one thread needs for `ensembles`."""


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

    def offered(self, lead_times: Leads) -> Leads:
        """Those of `lead_times` that are in the store."""
        return np.intersect1d(lead_times, self.store.lead_times)

    def ensembles(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Field]:
        """Each is decoded into the same memory."""
        out = _scratch[slot].take((self.store.members, *self.truth.shape), np.float32)
        for lead_time in lead_times:
            self.store.ensemble_into(name, init_time, lead_time, out)
            yield out

    def bytes_at_work(self, names: tuple[str, ...]) -> int:
        """One field of all members, and what the reader needs."""
        return self.store.members * self.truth.field_bytes + self.store.scratch_bytes(names)


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

    def offered(self, lead_times: Leads) -> Leads:
        """All of them."""
        return lead_times

    def ensembles(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Field]:
        """The same field every time."""
        field = self.truth.fields(name, np.array([init_time])).to_numpy()
        return itertools.repeat(field, len(lead_times))

    def bytes_at_work(self, names: tuple[str, ...]) -> int:
        """One field."""
        return self.truth.field_bytes
