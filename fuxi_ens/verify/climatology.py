"""Climatology as a reference ensemble, made from the truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fuxi_ens.channels import SUMS_24H, components
from fuxi_ens.config import ClimatologyConfig
from fuxi_ens.errors import StoreError
from fuxi_ens.stores.sums import whole
from fuxi_ens.times import Leads, Times
from fuxi_ens.verify.open import AnalysisStore
from fuxi_ens.verify.points import Field
from fuxi_ens.verify.systems import Role, verifiable


@dataclass(frozen=True)
class Climatology:
    """Analyses of the climatology periods near the calendar day, at the same hour, as an ensemble.

    Members of a valid time are the truth at (same calendar day and hour in each year of the periods) +
    offsets of 0, +-stride_days, ... up to +-window_days, those that exist. Days of 29 February become 28
    February in other years. Verified times are never members, so a forecast that runs past the test period
    meets no leak. Near the edges of the periods there are fewer members, which the fair estimator allows for
    (verification.md 5).
    """

    truth: AnalysisStore
    available: pd.DatetimeIndex
    """Times of the truth that may be members."""
    offsets: pd.TimedeltaIndex
    name: str = "climatology"
    role: Role = "climatology"

    @classmethod
    def from_config(cls, config: ClimatologyConfig, truth: AnalysisStore, verified: Times) -> "Climatology":
        """Choose the times that may be members: in `config.periods`, in the store, and not in `verified`."""
        times = truth.valid_times
        inside = np.logical_or.reduce([period.contains(times) for period in config.periods])
        days = np.arange(config.stride_days, config.window_days + 1, config.stride_days)
        offsets = pd.to_timedelta(np.concatenate([-days[::-1], [0], days]), unit="D")
        return cls(truth, pd.DatetimeIndex(times[inside & ~np.isin(times, verified)]), offsets)

    @property
    def source(self) -> str:
        """The truth's store."""
        return self.truth.source

    def offered(self, name: str, init_time: np.datetime64, lead_times: Leads) -> Leads:
        """All of them."""
        return verifiable(name, init_time, lead_times, self.truth)

    def held(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """All of them."""
        return names

    def member_times(self, name: str, valid_time: np.datetime64) -> Times:
        """Times of the members for `valid_time`; all parts of a 24 h sum may be members.

        Raises StoreError if there are fewer than 2.
        """
        day = pd.Timestamp(valid_time)
        years = self.available.year.unique()
        centers = pd.DatetimeIndex([day + pd.DateOffset(years=int(year) - day.year) for year in years])
        times = (centers.to_numpy()[:, None] + self.offsets.to_numpy()).ravel()
        members = self.available.intersection(pd.DatetimeIndex(np.unique(times)))
        members = members[whole(name, members.to_numpy(), self.available.to_numpy())]
        if len(members) < 2:
            raise StoreError(
                f"climatology of {name} at {valid_time} has {len(members)} members in {self.source}, expected at least "
                "2; widen verify.climatology.periods or window_days, or make stride_days smaller"
            )
        result: Times = members.to_numpy().astype("datetime64[ns]")
        return result

    def ensembles(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Field]:
        """Analyses, read anew for every valid time."""
        for valid_time in init_time + lead_times:
            yield self.truth.fields(name, self.member_times(name, valid_time)).to_numpy()

    @property
    def ensemble_bytes(self) -> int:
        """The most members there may be."""
        return len(self.available.year.unique()) * len(self.offsets) * self.truth.field_bytes

    def bytes_at_work(self, names: tuple[str, ...]) -> int:
        """The most members there may be; twice that for wind speeds and sums, which are made of several fields."""
        return self.ensemble_bytes * max(2 if name in SUMS_24H else len(components(name)) for name in names)
