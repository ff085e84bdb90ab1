"""Distances, mean positions and errors along and across a motion, on the sphere. NaN in, NaN out."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod

RADIUS_KM: Final = 6371.0
_GEOD: Final = Geod(a=RADIUS_KM * 1e3, b=RADIUS_KM * 1e3)

Floats = NDArray[np.float64]


def unit_vectors(latitude: ArrayLike, longitude: ArrayLike) -> Floats:
    """Points of the unit sphere, [..., 3]."""
    parts = (np.asarray(part, np.float64) for part in (latitude, longitude))
    north, east = np.broadcast_arrays(*map(np.deg2rad, parts))
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)


def degrees(vectors: Floats) -> tuple[Floats, Floats]:
    """Latitude and longitude (0 to 360) of directions [..., 3] of any length but zero."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.rad2deg(np.arctan2(z, np.hypot(x, y))), np.rad2deg(np.arctan2(y, x)) % 360.0


def chord(distance_km: float) -> float:
    """Straight distance on the unit sphere of points that lie `distance_km` apart along a great circle."""
    return float(2.0 * np.sin(0.5 * distance_km / RADIUS_KM))


def distance_km(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> Floats:
    """Great-circle distance of points (latitude, longitude), broadcast."""
    return _azimuth_and_distance(a, b)[1]


def mean_position(latitude: Floats, longitude: Floats) -> tuple[Floats, Floats]:
    """Mean over the first axis in three dimensions, members without a position left out; NaN where there are none."""
    known: NDArray[np.bool_] = np.isfinite(latitude)
    vectors = np.where(known[..., None], unit_vectors(latitude, longitude), 0.0).sum(axis=0)
    vectors = np.where(np.asarray(known.any(axis=0))[..., None], vectors, np.nan)
    return degrees(vectors)


def along_across_km(
    position: tuple[Floats, Floats], truth: tuple[Floats, Floats], before: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Error of a position along the observed motion (ahead is positive) and across it (to its right is positive).

    The motion is that from the observed position `before` to `truth`; where the storm stood still both are NaN.
    """
    back, moved = _azimuth_and_distance(truth, before)
    azimuth, length = _azimuth_and_distance(truth, position)
    turn = np.deg2rad(azimuth - (back + 180.0))
    # The angle at the truth, and the two sides of the right-angled triangle on the sphere.
    side = length / RADIUS_KM
    across = np.arcsin(np.sin(side) * np.sin(turn))
    along = np.arctan2(np.sin(side) * np.cos(turn), np.cos(side))
    still = ~(moved > 0)
    return np.where(still, np.nan, along * RADIUS_KM), np.where(still, np.nan, across * RADIUS_KM)


def _azimuth_and_distance(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    parts = np.broadcast_arrays(a[1], a[0], b[1], b[0])
    unknown = ~np.all([np.isfinite(part) for part in parts], axis=0)
    west, south, east, north = (np.where(unknown, 0.0, part) for part in parts)
    azimuth, _, meters = _GEOD.inv(west, south, east, north)
    return np.where(unknown, np.nan, azimuth), np.where(unknown, np.nan, np.asarray(meters) / 1e3)
