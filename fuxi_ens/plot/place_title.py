"""Where a picture of one grid point is: the place asked for, and how far off the point that stands for it lies."""

from typing import Final

import numpy as np
import xarray as xr

from fuxi_ens.plot.fields import Case, Place
from fuxi_ens.plot.snapshot import utc
from fuxi_ens.plot.style import members_label, system_label

EARTH_RADIUS_KM: Final = 6371.0


def place_title(case: Case, place: Place, system: str) -> str:
    """Place, system, init time, lead times, members, and the grid point with its distance; two lines."""
    point = grid_point(case.forecast)
    distance = distance_km(place, point)
    last = case.forecast["lead_time"].to_numpy()[-1] / np.timedelta64(1, "D")
    members = members_label(case.forecast.sizes["number"], control=case.control is not None)
    return (
        f"{place}, {system_label(system)}\ninit {utc(case.init_time)}   to day {last:g}   "
        f"{members}   nearest {point}, {distance:.0f} km away"
    )


def grid_point(field: xr.DataArray) -> Place:
    """The one point of a field that was cut down to it."""
    return Place("grid point", float(field["latitude"][0]), float(field["longitude"][0]))


def distance_km(one: Place, other: Place) -> float:
    """Great-circle distance (haversine), km."""
    north = np.deg2rad([one.latitude, other.latitude])
    east = np.deg2rad(other.longitude - one.longitude)
    half = np.sin(0.5 * (north[1] - north[0])) ** 2 + np.cos(north[0]) * np.cos(north[1]) * np.sin(0.5 * east) ** 2
    return float(2.0 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half)))
