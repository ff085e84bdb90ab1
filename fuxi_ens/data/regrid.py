"""First-order conservative regridding between global latitude-longitude grids.

A target cell is the mean of the source cells under it, weighted with the area they share, so global means are kept and
what was not negative stays so. xarray-regrid measures the overlaps. From centers alone it would take a row at a pole
for a cell without area, so it is given the edges of the cells: sines of latitude, clipped at the poles, and longitudes
that wrap around.
"""

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from xarray_regrid.utils import normalize_overlap, overlap

from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid

Float = NDArray[np.float64]

# A cell has a value when at least half of its area has one: coasts move by less than half a cell, and neither sea nor
# land gains area on the whole. The margin is for rounding in the sum of the weights.
VALID_SHARE: Final = 0.5 - 1e-9
_DEGREES = 1e-3


def same_grid(latitude: NDArray[np.floating], longitude: NDArray[np.floating], grid: LatLonGrid) -> bool:
    """Whether fields at these places are on `grid` already."""
    pairs = ((latitude, grid.latitude), (longitude, grid.longitude))
    return all(len(own) == len(other) and np.allclose(own, other, atol=_DEGREES) for own, other in pairs)


class Regridder:
    """Fields of one global grid to a coarser one; made once, used for every time."""

    def __init__(
        self, latitude: NDArray[np.floating], longitude: NDArray[np.floating], target: LatLonGrid, source: str
    ) -> None:
        """Make the weights; `latitude` and `longitude` of the source are oriented as the model's.

        Raises StoreError when the source is not global or coarser than `target`.
        """
        _require_global(latitude, longitude, source)
        if len(latitude) < target.height or len(longitude) < target.width:
            raise StoreError(
                f"{source} has {len(latitude)}x{len(longitude)} points, coarser than the model's {target.height}x"
                f"{target.width}; set model.height and model.width to its grid or coarser, or name a finer source"
            )
        rows = overlap(_latitude_cells(latitude), _latitude_cells(target.latitude))
        cells = _longitude_cells(target.longitude)
        columns = np.sum([overlap(_longitude_cells(longitude + turn), cells) for turn in (-360.0, 0.0, 360.0)], axis=0)
        self._rows = sparse.csr_array(normalize_overlap(rows).T)
        self._columns = sparse.csr_array(normalize_overlap(columns).T)

    def __call__(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        """Regrid [..., latitude, longitude]; points without a value do not count."""
        flat = fields.reshape(-1, *fields.shape[-2:])
        shape = (self._rows.shape[0], self._columns.shape[0])
        out = np.empty((len(flat), *shape), np.float32)
        for field, result in zip(flat, out, strict=True):
            result[...] = self._one(field)
        return out.reshape(*fields.shape[:-2], *shape)

    def _one(self, field: NDArray[np.float32]) -> Float:
        valid = np.isfinite(field)
        if valid.all():
            return self._mean(field)
        share = self._mean(valid)
        total = self._mean(np.where(valid, field, 0.0))
        return np.divide(total, share, out=np.full_like(total, np.nan), where=share >= VALID_SHARE)

    def _mean(self, field: NDArray[np.generic]) -> Float:
        mean: Float = (self._columns @ (self._rows @ field.astype(np.float64)).T).T
        return mean


def _latitude_cells(latitude: NDArray[np.floating]) -> pd.IntervalIndex:
    """Cells between the midpoints of rows, the outermost ending at the poles, as sines: differences are areas.

    Of rows from north to south the sines are of minus the latitude, because intervals must increase.
    """
    degrees = -np.asarray(latitude, dtype=np.float64)
    edges: Any = np.concatenate([[-90.0], 0.5 * (degrees[1:] + degrees[:-1]), [90.0]])
    return pd.IntervalIndex.from_breaks(np.sin(np.deg2rad(edges)))


def _longitude_cells(longitude: NDArray[np.floating]) -> pd.IntervalIndex:
    step = 360.0 / len(longitude)
    edges: Any = float(longitude[0]) + step * (np.arange(len(longitude) + 1) - 0.5)
    return pd.IntervalIndex.from_breaks(edges)


def _require_global(latitude: NDArray[np.floating], longitude: NDArray[np.floating], source: str) -> None:
    step = 360.0 / len(longitude)
    even = np.allclose(longitude - longitude[0], step * np.arange(len(longitude)), atol=_DEGREES)
    falling = len(latitude) > 1 and bool(np.all(np.diff(latitude) < 0))
    if not even or not falling or 90.0 - min(latitude[0], -latitude[-1]) > latitude[0] - latitude[1]:
        raise StoreError(
            f"{source} is no global grid of latitudes and longitudes: {len(latitude)} latitudes from {latitude[0]:g} "
            f"to {latitude[-1]:g}, {len(longitude)} longitudes from {longitude[0]:g} to {longitude[-1]:g}; only "
            "global stores with evenly spaced longitudes can be regridded"
        )
