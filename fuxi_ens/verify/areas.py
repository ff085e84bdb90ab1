"""Sums over regions of one grid, weighted with cell areas, in float64.

Regions are boxes, so that a weight is a product of a row's and a column's: rows are summed once for every distinct set
of columns, and regions are sums of rows. Nothing here uses BLAS, whose sums depend on the number of threads: equal
runs give equal bits.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.grid import REGIONS, Float, area_weights
from fuxi_ens.verify.rows import count_ranks, row_sums


@dataclass(frozen=True)
class Areas:
    """Weights of some regions: the cell area of the whole globe (mean 1), cut out by the region."""

    regions: tuple[str, ...]
    rows: Float
    """Weight of a row's cells in each region, [region, latitude]"""
    columns: NDArray[np.bool_]
    """Distinct sets of columns, [set, longitude]"""
    column_set: NDArray[np.intp]
    """Set of columns that belongs to each region, [region]"""
    latitude: Float
    """Of the rows, degrees"""
    longitude: Float
    """Of the columns, degrees"""

    @classmethod
    def of(cls, regions: tuple[str, ...], latitude: NDArray[np.floating], longitude: NDArray[np.floating]) -> Self:
        """Of the grid with these coordinates, in degrees; `latitude` must span the globe."""
        masks = [REGIONS[region].mask(latitude, longitude) for region in regions]
        columns, position = np.unique([mask.any(axis=0) for mask in masks], axis=0, return_inverse=True)
        rows = np.stack([mask.any(axis=1) for mask in masks]) * area_weights(latitude)
        places = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
        return cls(regions, rows, columns, position.ravel(), *places)

    def sums(self, points: NDArray[np.floating], valid: NDArray[np.bool_]) -> Float:
        """sum(w * points) over the `valid` points, [..., region] of `points` [..., latitude, longitude].

        Points outside of `valid` may hold anything; NaN at a valid point makes the sums of its regions NaN.
        """
        flat = np.ascontiguousarray(points).reshape(-1, *valid.shape)
        by_row = np.empty((len(flat), *self.columns.shape[:1], len(valid)))
        row_sums(flat, valid, self.columns, by_row)
        return self.of_row_sums(by_row).reshape(*points.shape[:-2], len(self.regions))

    def of_row_sums(self, by_row: Float) -> Float:
        """Weighted sums [statistic, region] of what was summed along each row, [statistic, set, latitude]."""
        pairs = zip(self.rows, self.column_set, strict=True)
        return np.stack([(by_row[:, columns] * row).sum(axis=-1) for row, columns in pairs], axis=-1)

    def weight(self, valid: NDArray[np.bool_]) -> Float:
        """sum(w) over the `valid` points, [region]."""
        return self.sums(valid.astype(np.float32), valid)

    def histogram(self, bins: NDArray[np.integer], valid: NDArray[np.bool_], count: int) -> Float:
        """Weighted counts of `bins` [latitude, longitude], 0 to count - 1, at the `valid` points, [region, bin]."""
        return self.rank_counts(bins.astype(np.int32), np.zeros(bins.shape, np.int32), valid, count - 1)

    def rank_counts(
        self, below: NDArray[np.int32], equal: NDArray[np.int32], valid: NDArray[np.bool_], members: int
    ) -> Float:
        """Weighted counts of ranks, [region, rank]; a point adds 1 / (e + 1) to the ranks below .. below + e."""
        by_row = np.zeros((len(self.columns), len(valid), members + 1))
        count_ranks(below, equal, valid, self.columns, by_row)
        return self.of_rows(by_row)

    def of_rows(self, by_row: Float) -> Float:
        """Weighted sums [region, bin] of what was summed along each row of the grid, [set, latitude, bin]."""
        rows: Any = self.rows[:, :, None]
        pairs = zip(rows, self.column_set, strict=True)
        return np.stack([(by_row[columns] * row).sum(axis=0) for row, columns in pairs])
