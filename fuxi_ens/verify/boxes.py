"""Averages over boxes of grid points: fine fields on a coarser grid for maps."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.grid import Float, area_weights


@dataclass(frozen=True)
class Boxes:
    """Boxes of as many rows as columns; the last ones may be smaller."""

    size: int
    """Grid points along an edge."""
    area: Float
    """Cell area of each row, [latitude]"""
    latitude: Float
    """Middles, [box row]"""
    longitude: Float
    """Middles, [box column]"""

    @classmethod
    def of(cls, latitude: Float, longitude: Float, degrees: float) -> Self:
        """Boxes about `degrees` wide; of a grid that is coarser, each point is its own."""
        size = max(1, round(degrees * len(longitude) / 360.0))
        return cls(size, area_weights(latitude), _middles(latitude, size), _middles(longitude, size))

    def means(self, points: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Area-weighted means over the `valid` points, [box row, box column]; NaN in a box without any.

        Sums are float64. `points` outside of `valid` may hold anything.
        """
        if self.size == 1:
            return np.where(valid, points, np.nan).astype(np.float32)
        weight = np.where(valid, self.area[:, None], 0.0)
        total = self._sums(np.where(valid, points, 0.0) * weight)
        with np.errstate(invalid="ignore"):
            return (total / self._sums(weight)).astype(np.float32)

    def _sums(self, field: Float) -> Float:
        by_row = np.add.reduceat(field, np.arange(0, field.shape[1], self.size), axis=1)
        result: Float = np.add.reduceat(by_row, np.arange(0, field.shape[0], self.size), axis=0)
        return result


def _middles(coordinate: Float, size: int) -> Float:
    return np.array([coordinate[start : start + size].mean() for start in range(0, len(coordinate), size)])
