"""The systems that are compared, each giving ensembles in blocks [lead_time, number, latitude, longitude].

The forecast and the baseline are stores; persistence and `climatology` are made from the truth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import numpy as np
import xarray as xr

from fuxi_ens.times import Leads
from fuxi_ens.verify.open import AnalysisStore, ForecastStore

Role = Literal["forecast", "baseline", "climatology", "persistence"]
ROLES: Final[frozenset[Role]] = frozenset(get_args(Role))

BLOCK_VALUES: Final = 2**26
"""Most values in a block (256 MiB of float32), unless one lead time alone has more."""


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

    def blocks(self, name: str, init_time: np.datetime64, lead_times: Leads) -> Iterator[xr.DataArray]:
        """Ensembles of a scored name in order of `lead_times`, in blocks of equally many members."""


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

    def blocks(self, name: str, init_time: np.datetime64, lead_times: Leads) -> Iterator[xr.DataArray]:
        """Read as many lead times at once as `BLOCK_VALUES` allows."""
        for part in parts([self.store.members] * len(lead_times), self.truth):
            yield self.store.ensemble(name, init_time, lead_times[part])


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

    def blocks(self, name: str, init_time: np.datetime64, lead_times: Leads) -> Iterator[xr.DataArray]:
        """One block, a view of one field."""
        field = self.truth.fields(name, np.array([init_time])).rename(valid_time="number").reset_coords(drop=True)
        field = field.drop_vars("number")
        yield field.expand_dims(lead_time=lead_times)


def parts(members: list[int], store: AnalysisStore) -> Iterator[slice]:
    """Cut lead times into runs with equally many members and at most `BLOCK_VALUES` values."""
    cells = store.dataset.sizes["latitude"] * store.dataset.sizes["longitude"]
    start = 0
    while start < len(members):
        most = max(1, BLOCK_VALUES // (members[start] * cells))
        stop = start + 1
        while stop < len(members) and stop - start < most and members[stop] == members[start]:
            stop += 1
        yield slice(start, stop)
        start = stop
