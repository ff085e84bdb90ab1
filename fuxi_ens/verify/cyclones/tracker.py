"""Follow a cyclone from one time to the next by the rules of ECMWF and Pangu-Weather (Bi et al. 2023).

Next centers are minima of mean sea-level pressure near the last one. The deepest is taken that has cyclonic vorticity
at 850 hPa nearby; outside the tropics a maximum of the 850-200 hPa thickness; over land strong wind. If there is none,
the cyclone is lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from fuxi_ens.config import CycloneConfig
from fuxi_ens.errors import StoreError
from fuxi_ens.verify.cyclones.sphere import RADIUS_KM, chord, unit_vectors
from fuxi_ens.verify.cyclones.vorticity import relative_vorticity

Field = NDArray[np.floating]
Fields = Mapping[str, Field]
"""By channel, [latitude, longitude] from north to south and eastward, file units."""


class Center(NamedTuple):
    """Where a cyclone is, and how deep."""

    latitude: float
    longitude: float
    """0 to 360."""
    pressure: float
    """Of the grid point, Pa."""


@dataclass(frozen=True)
class Surface:
    """The grid, and where it is land."""

    latitude: Field
    longitude: Field
    land: Field
    """Share of land, [latitude, longitude]."""

    @cached_property
    def vectors(self) -> NDArray[np.float64]:
        """Unit vectors of all points, [latitude, longitude, 3]."""
        return unit_vectors(self.latitude[:, None], self.longitude[None, :])


def channels_for(rules: CycloneConfig) -> tuple[str, ...]:
    """Channels that the rules look at."""
    return (*(("z200", "z850") if rules.thickness else ()), "u850", "v850", "u10m", "v10m", "msl")


def next_center(
    fields: Fields, surface: Surface, last: tuple[float, float], rules: CycloneConfig, name: str
) -> Center | None:
    """The center that follows the position `last` (latitude, longitude), None if the cyclone is lost.

    Raises StoreError, with `name` for what was read, for pressure without a value where it is searched.
    """
    rows = _band(surface, last[0], rules.search_km + rules.near_km)
    part = {channel: field[rows] for channel, field in fields.items()}
    band = Surface(surface.latitude[rows], surface.longitude, surface.land[rows])
    inside = _within(band, last, rules.search_km)
    pressure = part["msl"]
    if np.isnan(pressure[inside]).any():
        raise StoreError(f"{name}: mean sea-level pressure is missing near {last[0]:.1f} N {last[1]:.1f} E")
    lowest = pressure == minimum_filter(pressure, 3, mode=("nearest", "wrap"))
    # A minimum in the outermost rows may be the slope of a deeper one beyond them.
    lowest[[0, -1]] = False
    candidates = np.argwhere(lowest & inside)
    for row, column in sorted(candidates.tolist(), key=lambda at: (float(pressure[at[0], at[1]]), at)):
        if _is_cyclone(part, band, (row, column), rules):
            return _refined(pressure, band, row, column)
    return None


def _band(surface: Surface, latitude: float, distance_km: float) -> slice:
    """Rows that can be within a distance of a latitude, and two more on either side."""
    reach = np.rad2deg(distance_km / RADIUS_KM)
    rows = np.flatnonzero(np.abs(surface.latitude - latitude) <= reach)
    first, last = (int(rows[0]), int(rows[-1])) if rows.size else (0, len(surface.latitude) - 1)
    return slice(max(first - 2, 0), last + 3)


def _within(surface: Surface, place: tuple[float, float], distance_km: float) -> NDArray[np.bool_]:
    apart = surface.vectors - unit_vectors(*place)
    return np.asarray((apart**2).sum(axis=-1) <= chord(distance_km) ** 2)


def _is_cyclone(fields: Fields, surface: Surface, at: tuple[int, int], rules: CycloneConfig) -> bool:
    latitude = float(surface.latitude[at[0]])
    near = _within(surface, (latitude, float(surface.longitude[at[1]])), rules.near_km)
    vorticity = relative_vorticity(fields["u850"], fields["v850"], surface.latitude, surface.longitude)
    cyclonic = vorticity if latitude >= 0 else -vorticity
    if not np.nanmax(cyclonic[near]) > rules.vorticity:
        return False
    if rules.thickness and abs(latitude) > rules.extratropical_latitude:
        thickness = fields["z200"] - fields["z850"]
        peak = thickness == maximum_filter(thickness, 3, mode=("nearest", "wrap"))
        peak[[0, -1]] = False
        if not (peak & near).any():
            return False
    if surface.land[at] >= 0.5:
        return bool(np.nanmax(np.hypot(fields["u10m"], fields["v10m"])[near]) > rules.wind_over_land)
    return True


def _refined(pressure: Field, surface: Surface, row: int, column: int) -> Center:
    """The vertex of a parabola through the minimum and its neighbors, in each direction."""
    width = pressure.shape[1]
    middle = float(pressure[row, column])
    north, south = float(pressure[row - 1, column]), float(pressure[row + 1, column])
    west, east = float(pressure[row, column - 1]), float(pressure[row, (column + 1) % width])
    latitude, longitude = surface.latitude, surface.longitude
    rows = 0.5 * float(latitude[row + 1] - latitude[row - 1])
    columns = float(longitude[1] - longitude[0])
    return Center(
        float(latitude[row]) + rows * _vertex(north, middle, south),
        (float(longitude[column]) + columns * _vertex(west, middle, east)) % 360.0,
        middle,
    )


def _vertex(before: float, middle: float, after: float) -> float:
    """Place of the minimum in steps from the middle one of three values, the lowest; -0.5 to 0.5."""
    bend = before - 2.0 * middle + after
    return 0.5 * (before - after) / bend if bend > 0 else 0.0
