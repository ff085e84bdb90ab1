"""The window of a climatology: all years, and the days around a day of the year with weights that fall off linearly.

Definitions as in verification.md 5.1, which are WeatherBench 2's. Days of the year are a circle of 366. Arrays here are
[366, ...], float64 inside; days without data (outside of the periods, skipped) have no weight.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

Values = NDArray[np.float64]
Fields = NDArray[np.float32]


def window_weights(days: int) -> Values:
    """Weights of a window of that many days, odd: 0 at both ends and 1 in the middle. One day is itself."""
    if days == 1:
        return np.ones(1)
    rising = np.linspace(0.0, 1.0, days // 2 + 1)
    return np.concatenate([rising, rising[-2::-1]])


def mean_and_std(count: Fields, mean: Fields, squares: Fields, weights: Values) -> tuple[Fields, Fields]:
    """Weighted mean and standard deviation around each day of the year, [366, point].

    In come the moments of each day over the years: number of values, their mean, squared deviations from that mean.
    """
    n = count.astype(np.float64)
    # Relative to a mean of the year the squares stay small beside what is looked for.
    center = _divided((n * mean).sum(axis=0), n.sum(axis=0))
    offset = np.where(n > 0, mean - np.nan_to_num(center), 0.0)
    total = _around(n, weights)
    shift = _divided(_around(n * offset, weights), total)
    variance = _divided(_around(squares + n * offset**2, weights), total) - shift**2
    # NaN stays NaN in np.maximum.
    return (center + shift).astype(np.float32), np.sqrt(np.maximum(variance, 0.0)).astype(np.float32)


def share(part: NDArray[np.int64], whole: NDArray[np.int64], weights: Values) -> Fields:
    """Weighted share of counts around each day of the year, [366, point]; NaN without any."""
    sums = (_around(counts.astype(np.float64), weights) for counts in (part, whole))
    return _divided(*sums).astype(np.float32)


def _around(values: Values, weights: Values) -> Values:
    """Weighted sums over the window around each day."""
    inner = weights[1:-1] if len(weights) > 1 else weights
    sums: Values = correlate1d(values, inner, axis=0, mode="wrap")
    return sums


def _divided(sums: Values, weight: Values) -> Values:
    return np.divide(sums, weight, out=np.full_like(sums, np.nan), where=weight > 0)
