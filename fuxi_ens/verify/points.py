"""What one pass over an ensemble gives at every point; NumPy. Members lie along the first axis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Counts = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Points:
    """Statistics per point, [latitude, longitude]; NaN (and counts without meaning) where the truth is NaN."""

    absolute_error: Field
    """mean |x_i - y|"""
    difference: Field
    """Half the mean |x_i - x_j| over i != j; 0 for one member"""
    error: Field
    """mean(x_i) - y"""
    variance: Field
    """Of the members, divisor M - 1; NaN for one member"""
    below: Counts
    """Members below the truth"""
    equal: Counts
    """Members equal to the truth"""
    members: int

    def averages(self) -> Field:
        """Fair and standard CRPS, squared error of the mean, variance, error and absolute error of the mean.

        [6, latitude, longitude] in this order; the fair CRPS is NaN for one member.
        """
        standard = self.absolute_error - np.float32(1 - 1 / self.members) * self.difference
        fair = self.absolute_error - self.difference if self.members > 1 else np.full_like(standard, np.nan)
        return np.stack([fair, standard, self.error**2, self.variance, self.error, np.abs(self.error)])


def point_statistics(ensemble: Field, truth: Field) -> Points:
    """Statistics of `ensemble` [number, latitude, longitude] and `truth`; NaN in any member or the truth gives NaN.

    The truth is subtracted first, which keeps float32 geopotential accurate (verification.md 4.6).
    """
    members = len(ensemble)
    shifted = ensemble - truth
    below, equal = (shifted < 0).sum(axis=0, dtype=np.int32), (shifted == 0).sum(axis=0, dtype=np.int32)
    absolute_error = np.abs(shifted).mean(axis=0)
    error = shifted.mean(axis=0)
    variance = shifted.var(axis=0, ddof=1) if members > 1 else np.full_like(error, np.nan)
    shifted.sort(axis=0)
    # sum_ij |x_i - x_j| = 2 sum_k (2k - M + 1) x_(k), k = 0..M-1: x_(k) is the larger one k times.
    factor = (2 * np.arange(members) - members + 1) / max(members * (members - 1), 1)
    difference = np.einsum("m,mij->ij", factor.astype(shifted.dtype), shifted)
    return Points(absolute_error, difference, error, variance, below, equal, members)


def counts_above(ensemble: Field, thresholds: NDArray[np.floating]) -> Counts:
    """Members strictly above each of `thresholds` [threshold, latitude, longitude], same dimensions."""
    return np.stack([(ensemble > threshold).sum(axis=0, dtype=np.int32) for threshold in thresholds])
