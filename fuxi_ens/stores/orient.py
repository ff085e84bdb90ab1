"""Orientation: latitude north to south, longitude eastward from 0, by slices where possible; nothing is read."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.errors import StoreError

_TOLERANCE: Final = 1e-3
"""Degrees; coordinates in single precision are off by less."""


@dataclass(frozen=True)
class Orientation:
    """How rows and columns lie on disk."""

    reversed_latitude: bool = False
    longitude_shift: int = 0


def orient(dataset: xr.Dataset, source: str) -> tuple[xr.Dataset, Orientation]:
    """The dataset with latitude 90..-90 and longitude from 0, and what had to be done.

    A region keeps its extent: its longitudes increase eastward without a jump, from -10 to 40 if it crosses Greenwich.
    Raises StoreError for coordinates that do not run along a grid.
    """
    flip, shift = False, 0
    if "latitude" in dataset.indexes:
        flip = _ascends(dataset["latitude"].values, "latitude", source)
        if flip:
            dataset = dataset.isel(latitude=slice(None, None, -1))
    if "longitude" in dataset.indexes:
        dataset, shift = _eastward(dataset, source)
    return dataset, Orientation(flip, shift)


def _ascends(values: NDArray[np.floating], name: str, source: str) -> bool:
    step = np.diff(values.astype(np.float64))
    if np.all(step > 0):
        return bool(len(step))
    if np.all(step < 0):
        return False
    raise StoreError(
        f"{source}: {name} {values[:4]}... runs neither up nor down, expected a grid; write the store again in order"
    )


def _eastward(dataset: xr.Dataset, source: str) -> tuple[xr.Dataset, int]:
    stored = dataset["longitude"]
    degrees = stored.values.astype(np.float64)
    # A jump at the date line or at Greenwich is a step of the circle like any other.
    step = np.mod(np.diff(degrees), 360.0)
    if np.any(step < _TOLERANCE) or np.sum(step) > 360.0 + _TOLERANCE:
        raise StoreError(
            f"{source}: longitude {degrees[:4]}... does not run eastward once; write the store again in order"
        )
    circle = degrees - 360.0 * np.floor((degrees + _TOLERANCE) / 360.0)
    around = len(step) > 0 and abs(np.sum(step) + step[-1] - 360.0) < 0.5 * step[-1]
    shift = int(np.argmin(circle)) if around else 0
    if shift:
        # An index array, because xarray rolls by reading.
        dataset = dataset.isel(longitude=np.roll(np.arange(len(circle)), -shift))
    values = np.roll(circle, -shift) if around else _unwrapped(circle)
    return dataset.assign_coords(longitude=("longitude", values.astype(stored.dtype), stored.attrs)), shift


def _unwrapped(circle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The longitudes of a region, increasing: 350, 355, 0, 5 become -10, -5, 0, 5."""
    jumps = np.concatenate([[0], np.cumsum(np.diff(circle) < 0)])
    values = circle + 360.0 * jumps
    return values if values[-1] < 360.0 + _TOLERANCE else values - 360.0
