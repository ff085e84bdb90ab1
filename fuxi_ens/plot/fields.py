"""One forecast beside its truth, as the maps and the plume need it: in memory, aligned, in file units."""

from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.errors import UserError
from fuxi_ens.times import Leads, Times
from fuxi_ens.verify.open import AnalysisStore, ForecastStore

_HORIZONTAL = ("latitude", "longitude")
_ENSEMBLE = ("number", "lead_time", *_HORIZONTAL)
Gridded = TypeVar("Gridded", xr.DataArray, xr.Dataset)


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

    @property
    def slug(self) -> str:
        """The name as part of a file name."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.name.lower()) or "place"


@dataclass(frozen=True, slots=True)
class Case:
    """One scored name from one init time; dimensions in any order.

    The baseline may have other lead times, members and latitude order. Raises UserError for other dimensions.
    """

    name: str
    init_time: np.datetime64
    forecast: xr.DataArray
    """[number, lead_time, latitude, longitude], without the control member"""
    truth: xr.DataArray
    """[valid_time, latitude, longitude]; of a forecast that has none yet, without any valid time"""
    baseline: xr.DataArray | None = None
    """[number, lead_time, latitude, longitude]"""
    control: xr.DataArray | None = None
    """[lead_time, latitude, longitude], of forecasts that have a control member"""

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
        baseline = None if self.baseline is None else nearest(self.baseline, place)
        control = None if self.control is None else nearest(self.control, place)
        forecast, truth = nearest(self.forecast, place), nearest(self.truth, place)
        return replace(self, forecast=forecast, truth=truth, baseline=baseline, control=control)


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores a case is read from."""

    forecast: ForecastStore
    truth: AnalysisStore | None
    baseline: ForecastStore | None = None


def read_case(stores: Stores, name: str, init_time: np.datetime64, lead_times: Leads) -> Case:
    """Read the fields at `lead_times`; valid times past the end of the truth are left out, not invented."""
    forecast, control = apart(stores.forecast, stores.forecast.ensemble(name, init_time, lead_times))
    covered = _covered(stores.truth, init_time + lead_times)
    truth = stores.truth.fields(name, covered) if stores.truth is not None and covered.size else _no_truth(forecast)
    baseline = None
    if stores.baseline is not None:
        shared = np.intersect1d(lead_times, stores.baseline.lead_times)
        baseline = stores.baseline.perturbed().ensemble(name, init_time, shared)
    return Case(name, init_time, forecast, truth, baseline, control)


def apart(store: ForecastStore, members: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray | None]:
    """The perturbed ones of all `members` of a store, and the control member, None where there is none."""
    controls = store.numbers == store.control
    if not controls.any():
        return members, None
    control = members.isel(number=int(np.flatnonzero(controls)[0])).drop_vars("number", errors="ignore")
    return members.isel(number=np.flatnonzero(~controls)), control


def read_place(stores: Stores, name: str, init_time: np.datetime64, lead_times: Leads, place: Place) -> Case:
    """Read one grid point; of the truth field by field, as none of its readers can do less."""
    baseline = None if stores.baseline is None else _at(stores.baseline, place)
    case = read_case(Stores(_at(stores.forecast, place), None, baseline), name, init_time, lead_times)
    points = [
        nearest(stores.truth.fields(name, np.array([time])), place)
        for time in _covered(stores.truth, init_time + lead_times)
        if stores.truth is not None
    ]
    return replace(case, truth=xr.concat(points, "valid_time")) if points else case


def _covered(truth: AnalysisStore | None, valid_times: Times) -> Times:
    return valid_times[:0] if truth is None else np.intersect1d(valid_times, truth.valid_times)


def _no_truth(forecast: xr.DataArray) -> xr.DataArray:
    """[valid_time, latitude, longitude] without any valid time."""
    empty = forecast.isel(number=0, lead_time=slice(0), drop=True).rename(lead_time="valid_time")
    return empty.assign_coords(valid_time=np.array([], dtype="datetime64[ns]"))


def _at(store: ForecastStore, place: Place) -> ForecastStore:
    """The store cut down to one grid point, still unread."""
    return replace(store, dataset=nearest(store.dataset, place))


def nearest(field: Gridded, place: Place) -> Gridded:
    """The grid point nearest to `place`, kept as dimensions of length 1, so that a point is a case like any other.

    Reads nothing. Raises UserError for a place farther than one grid step outside the grid.
    """
    north = np.abs(field["latitude"].to_numpy() - place.latitude)
    east = _circular(field["longitude"].to_numpy() - place.longitude)
    for what, distance in (("latitude", north), ("longitude", east)):
        step = np.abs(np.diff(field[what].to_numpy())).max() if distance.size > 1 else np.inf
        if distance.min() > step:
            ends = f"{field[what].to_numpy().min():g} to {field[what].to_numpy().max():g}"
            raise UserError(f"{place} lies outside the grid, whose {what} goes from {ends} degrees")
    return field.isel(latitude=[int(north.argmin())], longitude=[int(east.argmin())])


def _circular(degrees: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distance on the circle, so that 359 E is near 1 E and 10 W is 350 E."""
    return np.asarray(np.abs((degrees + 180.0) % 360.0 - 180.0))
