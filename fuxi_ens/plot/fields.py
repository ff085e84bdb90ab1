"""One forecast beside its truth, as the maps and the plume need it: in memory, aligned, in file units."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.errors import UserError
from fuxi_ens.times import Leads
from fuxi_ens.verify.open import AnalysisStore, ForecastStore

_HORIZONTAL = ("latitude", "longitude")
_ENSEMBLE = ("number", "lead_time", *_HORIZONTAL)


@dataclass(frozen=True, slots=True)
class Place:
    """A point with a name; longitude in any convention."""

    name: str
    latitude: float
    longitude: float

    def __str__(self) -> str:
        east = (self.longitude + 180.0) % 360.0 - 180.0
        north_south = "N" if self.latitude >= 0 else "S"
        east_west = "E" if east >= 0 else "W"
        latitude = f"{abs(self.latitude):.1f}\N{DEGREE SIGN}{north_south}"
        return f"{self.name} ({latitude}, {abs(east):.1f}\N{DEGREE SIGN}{east_west})"


@dataclass(frozen=True, slots=True)
class Case:
    """One scored name from one init time; dimensions in any order.

    The baseline may have other lead times, members and latitude order. Raises UserError for other dimensions.
    """

    name: str
    init_time: np.datetime64
    forecast: xr.DataArray
    """[number, lead_time, latitude, longitude]"""
    truth: xr.DataArray
    """[valid_time, latitude, longitude]"""
    baseline: xr.DataArray | None = None
    """[number, lead_time, latitude, longitude]"""

    def __post_init__(self) -> None:
        self._require("forecast", self.forecast, _ENSEMBLE)
        self._require("truth", self.truth, ("valid_time", *_HORIZONTAL))
        if self.baseline is not None:
            self._require("baseline", self.baseline, _ENSEMBLE)

    def _require(self, what: str, field: xr.DataArray, dims: tuple[str, ...]) -> None:
        if set(field.dims) != set(dims):
            raise UserError(f"the {what} of {self.name} has dimensions {field.dims}; a figure needs {dims}")

    def at_lead(self, lead_time: np.timedelta64) -> tuple[xr.DataArray, xr.DataArray]:
        """Members [number, latitude, longitude] and truth [latitude, longitude]."""
        valid_time = self.init_time + lead_time
        if lead_time not in self.forecast["lead_time"] or valid_time not in self.truth["valid_time"]:
            raise UserError(f"forecast and truth of {self.name} do not both hold the lead time {lead_time}")
        members = self.forecast.sel(lead_time=lead_time).transpose("number", *_HORIZONTAL)
        return members, self.truth.sel(valid_time=valid_time).transpose(*_HORIZONTAL)

    def at_place(self, place: Place) -> Self:
        """The same case with every field reduced to the grid point nearest to `place`."""
        baseline = None if self.baseline is None else _point(self.baseline, place)
        forecast, truth = _point(self.forecast, place), _point(self.truth, place)
        return replace(self, forecast=forecast, truth=truth, baseline=baseline)


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores a case is read from."""

    forecast: ForecastStore
    truth: AnalysisStore
    baseline: ForecastStore | None = None


def read_case(stores: Stores, name: str, init_time: np.datetime64, lead_times: Leads) -> Case:
    """Read the fields at `lead_times`; valid times past the end of the truth are left out, not invented."""
    valid_times = np.intersect1d(init_time + lead_times, stores.truth.valid_times)
    forecast = stores.forecast.ensemble(name, init_time, lead_times)
    baseline = None
    if stores.baseline is not None:
        shared = np.intersect1d(lead_times, stores.baseline.lead_times)
        baseline = stores.baseline.ensemble(name, init_time, shared)
    return Case(name, init_time, forecast, stores.truth.fields(name, valid_times), baseline)


def read_place(stores: Stores, name: str, init_time: np.datetime64, lead_times: Leads, place: Place) -> Case:
    """Read one grid point, lead by lead: a whole 0.25 degree ensemble would not fit in memory."""
    cases = [
        read_case(stores, name, init_time, lead_times[step : step + 1]).at_place(place)
        for step in range(len(lead_times))
    ]
    baselines = [case.baseline for case in cases if case.baseline is not None]
    forecast = _joined([case.forecast for case in cases], "lead_time")
    truth = _joined([case.truth for case in cases], "valid_time")
    return Case(name, init_time, forecast, truth, _joined(baselines, "lead_time") if baselines else None)


def _joined(parts: Sequence[xr.DataArray], dim: str) -> xr.DataArray:
    return xr.concat(parts, dim, coords="minimal", compat="override", join="exact")


def _point(field: xr.DataArray, place: Place) -> xr.DataArray:
    # Kept as dimensions of length 1, so that a point is a case like any other.
    row = int(np.abs(field["latitude"].to_numpy() - place.latitude).argmin())
    column = int(_circular(field["longitude"].to_numpy() - place.longitude).argmin())
    return field.isel(latitude=[row], longitude=[column])


def _circular(degrees: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distance on the circle, so that 359 E is near 1 E and 10 W is 350 E."""
    return np.asarray(np.abs((degrees + 180.0) % 360.0 - 180.0))
