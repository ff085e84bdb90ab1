"""Weighted quantiles around each day of the year: a sort per point, then one walk through it per day.

Type 7 with Kish's effective sample size n = (sum w)**2 / sum w**2 (verification.md 5.1): with c_i the cumulated weights
of the sorted values divided by their sum, Q = sum x_i (V(c_i) - V(c_(i-1))), V(c) = clip(c n - (n - 1) q, 0, 1).
"""

from collections.abc import Callable
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Fields = NDArray[np.float32]
Days = NDArray[np.int16]

_MIDDLE: Final = 0.5


def quantiles(samples: Fields, weights: Values, probabilities: Values) -> Fields:
    """Quantiles of increasing `probabilities` from [366, year, point] to [probability, 366, point].

    `weights` are those of the window, its middle being the day itself. NaN is no sample.
    """
    days, years, points = samples.shape
    lines = np.ascontiguousarray(samples.reshape(days * years, points).T)
    order = np.argsort(lines, axis=1)
    ordered = np.take_along_axis(lines, order, axis=1)
    out = np.empty((points, len(probabilities), days), np.float32)
    low = probabilities[probabilities <= _MIDDLE]
    # Counted from above, the q-quantile is the (1 - q)-quantile: two short walks instead of one through everything.
    high = (1.0 - probabilities[len(low) :])[::-1].copy()
    _of_points(ordered, (order // years).astype(np.int16), _circle(weights, days), low, high, out)
    return np.moveaxis(out, 0, 2)


def _circle(weights: Values, days: int) -> Values:
    """Weight of a day by its distance from another, 0 .. 2 days: written twice, so that no index has to be wrapped."""
    circle = np.zeros(days)
    half = len(weights) // 2
    np.add.at(circle, (np.arange(len(weights)) - half) % days, weights)
    return np.concatenate([circle, circle])


def _of_one_day(ordered: Fields, seen: Days, circle: Values, per_weight: float, starts: Values, out: Values) -> None:
    """Fill `out` [probability] from the sorted values, the days they are of, and the weights seen from one day.

    `per_weight` turns weights into shares of the effective sample size; `starts` are where a quantile's span begins.
    """
    wanted = starts.size
    out[:] = 0.0
    first = 0
    after = 0.0
    for i in range(ordered.size):
        weight = circle[seen[i]]
        if weight == 0.0:
            continue
        before = after
        after += weight * per_weight
        # A span is one effective sample wide; spans begin and end in the order of their probabilities.
        for k in range(first, wanted):
            if starts[k] >= after:
                break
            out[k] += max(min(after, starts[k] + 1.0) - max(before, starts[k]), 0.0) * ordered[i]
        while first < wanted and starts[first] + 1.0 <= after:
            first += 1
        if first == wanted:
            return


_one_day: Callable[..., None] = numba.njit(nogil=True)(_of_one_day)


def _sums_of_weights(view: Values, per_day: Values) -> tuple[float, float]:
    """Sums of the weights and of their squares over all values."""
    total = squared = 0.0
    for day in range(view.size):
        total += view[day] * per_day[day]
        squared += view[day] * view[day] * per_day[day]
    return total, squared


_weight: Callable[..., tuple[float, float]] = numba.njit(nogil=True)(_sums_of_weights)


def _of_each_point(ordered: Fields, day_of: Days, circle: Values, low: Values, high: Values, out: Fields) -> None:
    """Fill `out` [point, probability, day] from values sorted per point, NaN last, and the day of each."""
    days = circle.size // 2
    per_day = np.zeros(days)
    upward, downward = np.zeros(low.size), np.zeros(high.size)
    for point in range(ordered.shape[0]):
        valid = ordered.shape[1]
        while valid > 0 and np.isnan(ordered[point, valid - 1]):
            valid -= 1
        values, seen = ordered[point, :valid], day_of[point, :valid]
        per_day[:] = 0.0
        for i in range(valid):
            per_day[seen[i]] += 1.0
        for day in range(days):
            # Position k of this view is the weight of day k, seen from `day`.
            view = circle[days - day : 2 * days - day]
            total, squared = _weight(view, per_day)
            if total == 0.0:
                out[point, :, day] = np.nan
                continue
            size = total * total / squared
            _one_day(values, seen, view, size / total, (size - 1.0) * low, upward)
            _one_day(values[::-1], seen[::-1], view, size / total, (size - 1.0) * high, downward)
            out[point, : low.size, day] = upward
            out[point, low.size :, day] = downward[::-1]


_of_points: Callable[..., None] = numba.njit(nogil=True)(_of_each_point)
"""Compiled. Sorting the window of each day anew would cost ten times as much."""
