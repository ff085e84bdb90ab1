"""Strike probability: the share of members whose cyclone passes a place closely, at any time of a window."""

from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fuxi_ens.grid import area_weights
from fuxi_ens.times import hours
from fuxi_ens.verify.cyclones.sphere import RADIUS_KM, chord, unit_vectors

_PARTS: Final = 12
"""Points on the great circle between two positions six hours apart: one every half hour."""

Floats = NDArray[np.float64]


class StrikeMap:
    """Counts strikes on a grid."""

    def __init__(self, latitude: NDArray[np.floating], longitude: NDArray[np.floating], distance_km: float) -> None:
        """A place is struck by a cyclone that passes within `distance_km`."""
        self._shape = (len(latitude), len(longitude))
        self._tree = KDTree(unit_vectors(latitude[:, None], longitude[None, :]).reshape(-1, 3))
        self._chord = chord(distance_km)
        self._area = (area_weights(latitude) * 4.0 * np.pi * RADIUS_KM**2 / (len(latitude) * len(longitude)))[:, None]

    def struck(self, latitude: Floats, longitude: Floats) -> NDArray[np.bool_]:
        """Places that one track [time] strikes, [latitude, longitude]; nothing is drawn across missing positions."""
        places = np.zeros(self._shape, dtype=bool)
        points = _between(unit_vectors(latitude, longitude))
        for found in self._tree.query_ball_point(points, self._chord):
            places.flat[found] = True
        return places

    def probability(self, latitude: Floats, longitude: Floats) -> Floats:
        """Share of members that strike, from tracks [number, time]; lost members do not strike any more."""
        share = np.zeros(self._shape)
        for track in zip(latitude, longitude, strict=True):
            share += self.struck(*track)
        return share / len(latitude)

    def brier_km2(self, probability: Floats, observed: NDArray[np.bool_], members: int) -> tuple[float, float]:
        """Brier score summed over the area of the globe, in km2: standard, and fair (NaN for one member).

        An integral needs no domain, which would have to follow the forecasts.
        """
        squared = float((self._area * (probability - observed) ** 2).sum())
        if members < 2:
            return squared, np.nan
        return squared, squared - float((self._area * probability * (1 - probability)).sum()) / (members - 1)


def window(tracks: xr.Dataset, storm: int, strike_hours: int) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Tracks [number, time] and observed track [1, time] of a storm, from its position at init_time on."""
    chosen = tracks.isel(storm=storm).sel(lead_time=slice(None, hours(strike_hours)))

    def track(axis: str) -> tuple[Floats, Floats]:
        start = float(chosen[f"start_{axis}"])
        members = chosen[axis].transpose("number", "lead_time").to_numpy()
        return _started(members, start), _started(chosen[f"observed_{axis}"].to_numpy()[None], start)

    latitude, longitude = track("latitude"), track("longitude")
    return (latitude[0], longitude[0]), (latitude[1], longitude[1])


def _started(track: Floats, start: float) -> Floats:
    return np.concatenate([np.full((len(track), 1), start), track], axis=1)


def _between(points: Floats) -> Floats:
    """Positions and points on the great circles between neighbors, all that are known."""
    share = np.linspace(0.0, 1.0, _PARTS, endpoint=False)[:, None, None]
    dense = ((1.0 - share) * points[:-1] + share * points[1:]).reshape(-1, 3)
    dense = np.concatenate([dense / np.linalg.norm(dense, axis=-1, keepdims=True), points])
    return dense[np.isfinite(dense).all(axis=-1)]
