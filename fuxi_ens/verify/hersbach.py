"""Hersbach's decomposition of the standard CRPS into reliability and potential (verification.md 8.2).

Sorted members x_1 <= .. <= x_M cut the axis into bins 0..M, bin i between x_i and x_(i+1), the outer two unbounded. Of
each bin alpha is the length below the truth and beta the length above it. Their averages add; the parts follow from
the averages alone.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

BIN = "bin"


class Hersbach(NamedTuple):
    """Standard CRPS = reliability + potential, exactly."""

    reliability: xr.DataArray
    potential: xr.DataArray


def decompose(alpha: xr.DataArray, beta: xr.DataArray, below: xr.DataArray, not_above: xr.DataArray) -> Hersbach:
    """Parts of the mean standard CRPS, reduces `bin`, in the units of the forecast.

    `alpha` and `beta` [..., bin] are mean lengths of the bins; `below` is the frequency of truths below all members,
    `not_above` of those below the largest. Hersbach 2000, with g = alpha + beta and o = beta / g inside; outside o is
    the frequency and g the length per frequency. Outliers that never occur contribute nothing.
    """
    count = alpha.sizes[BIN]
    p = xr.DataArray(np.arange(count) / (count - 1), dims=BIN)
    inner = alpha + beta
    place = xr.DataArray(np.arange(count), dims=BIN)
    above = 1.0 - not_above
    frequency = (beta / inner.where(inner != 0)).where(inner != 0, 0.0)
    frequency = frequency.where(place > 0, below).where(place < count - 1, not_above)
    width = inner.where(place > 0, _length(beta.isel({BIN: 0}), below))
    width = width.where(place < count - 1, _length(alpha.isel({BIN: -1}), above))
    return Hersbach(
        (width * (frequency - p) ** 2).sum(BIN, skipna=False),
        (width * frequency * (1.0 - frequency)).sum(BIN, skipna=False),
    )


def _length(total: xr.DataArray, frequency: xr.DataArray) -> xr.DataArray:
    """Mean length per outlier; 0 if there is none, NaN for NaN."""
    return (total / frequency.where(frequency != 0)).where(frequency != 0, 0.0 * total)
