"""Tracks of all members of a forecast, from the reported position at init_time on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.channels import STATIC_LAND_SEA_MASK
from fuxi_ens.config import CycloneConfig
from fuxi_ens.errors import StoreError
from fuxi_ens.times import Leads, hours, label
from fuxi_ens.verify.cyclones.best_tracks import BestTrack
from fuxi_ens.verify.cyclones.tracker import Field, Surface, channels_for, next_center
from fuxi_ens.verify.open import AnalysisStore, ForecastStore

STEP: Final = hours(6)
"""Rules about the distance from the last center hold for this time."""
DIMS: Final = ("storm", "number", "lead_time")


class Followed(Protocol):
    """Something in which cyclones are followed."""

    @property
    def source(self) -> str:
        """Store it comes from."""

    @property
    def members(self) -> int:
        """Ensemble size."""

    @property
    def leads(self) -> Leads:
        """Every 6 hours from 6 on, as far as there are fields."""

    def read(self, name: str, init_time: np.datetime64, lead: np.timedelta64) -> Field:
        """A channel, [member, latitude, longitude], file units."""


@dataclass(frozen=True)
class Ensemble:
    """Members of a store of forecasts."""

    store: ForecastStore

    @property
    def source(self) -> str:
        """Store it comes from."""
        return self.store.source

    @property
    def members(self) -> int:
        """Ensemble size."""
        return self.store.members

    @property
    def leads(self) -> Leads:
        """Raises StoreError if lead times do not begin with 6 hours."""
        known = np.sort(self.store.lead_times)
        count = int(np.argmin(np.isin(STEP * np.arange(1, len(known) + 2), known)))
        if count == 0:
            raise StoreError(
                f"{self.store.source} has lead times from {known[0] / hours(1):g} h; cyclones are followed every 6 h "
                "from the init time on, which takes 6, 12, 18 h and so on"
            )
        return STEP * np.arange(1, count + 1)

    def read(self, name: str, init_time: np.datetime64, lead: np.timedelta64) -> Field:
        """A channel of all members."""
        return self.store.ensemble(name, init_time, np.array([lead]))[0].to_numpy()


@dataclass(frozen=True)
class Analysis:
    """The truth, tracked like a forecast of one member: what the tracker itself costs."""

    truth: AnalysisStore
    leads: Leads
    members: int = 1

    @property
    def source(self) -> str:
        """Store it comes from."""
        return self.truth.source

    def read(self, name: str, init_time: np.datetime64, lead: np.timedelta64) -> Field:
        """A channel at the valid time."""
        return self.truth.fields(name, np.array([init_time + lead])).to_numpy()


def surface_of(truth: AnalysisStore) -> Surface:
    """Grid and land of an analysis. Raises StoreError if it has no land-sea mask."""
    if STATIC_LAND_SEA_MASK not in truth.dataset:
        raise StoreError(
            f"{truth.source} has no {STATIC_LAND_SEA_MASK}, which the rule for cyclones over land needs; add it"
        )
    land = truth.dataset[STATIC_LAND_SEA_MASK]
    land = land.isel({dim: 0 for dim in land.dims if dim not in ("latitude", "longitude")})
    latitude, longitude = (truth.dataset[dim].to_numpy() for dim in ("latitude", "longitude"))
    return Surface(latitude, longitude, land.transpose("latitude", "longitude").to_numpy())


def follow(
    system: Followed, init_time: np.datetime64, storms: Sequence[BestTrack], surface: Surface, rules: CycloneConfig
) -> xr.Dataset:
    """Centers [storm, number, lead_time]: latitude, longitude, pressure (Pa); NaN from where a cyclone is lost.

    Also the observed positions [storm, lead_time] with those at init_time, from which the search starts. All members
    of one lead time are in memory at a time.
    """
    leads = system.leads
    centers = np.full((3, len(storms), system.members, len(leads)), np.nan)
    start = np.array([[part[0] for part in storm.at(np.array([init_time]))] for storm in storms])
    last = np.repeat(start[:, None], system.members, axis=1)
    for k, lead in enumerate(leads):
        alive = np.argwhere(np.isfinite(last[..., 0]))
        if not len(alive):
            break
        fields = {name: system.read(name, init_time, lead) for name in channels_for(rules)}
        for storm, member in alive.tolist():
            name = f"{system.source}, {label(init_time)} + {lead / hours(1):g} h, member {member}"
            at = (float(last[storm, member, 0]), float(last[storm, member, 1]))
            found = next_center({c: f[member] for c, f in fields.items()}, surface, at, rules, name)
            last[storm, member] = np.nan
            if found is not None:
                last[storm, member] = found[:2]
                centers[:, storm, member, k] = found
    return _dataset(centers, init_time, leads, storms, start)


def _dataset(
    centers: NDArray[np.float64],
    init_time: np.datetime64,
    leads: Leads,
    storms: Sequence[BestTrack],
    start: NDArray[np.float64],
) -> xr.Dataset:
    observed = [storm.at(init_time + leads) for storm in storms]
    latitude, longitude, pressure = centers
    return xr.Dataset(
        {
            "latitude": (DIMS, latitude, {"units": "degrees_north"}),
            "longitude": (DIMS, longitude, {"units": "degrees_east"}),
            "pressure": (DIMS, pressure, {"units": "Pa"}),
            "observed_latitude": (("storm", "lead_time"), np.array([at[0] for at in observed])),
            "observed_longitude": (("storm", "lead_time"), np.array([at[1] for at in observed])),
            "start_latitude": (("storm",), start[:, 0]),
            "start_longitude": (("storm",), start[:, 1]),
        },
        {
            "storm": [storm.storm for storm in storms],
            "name": ("storm", [storm.name or storm.storm for storm in storms]),
            "lead_time": leads,
            "init_time": init_time,
        },
    )
