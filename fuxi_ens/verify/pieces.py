"""Some rows of a field while its members lie in the cache, and what is summed there row by row.

Scores that need members beyond a threshold, or members in order, would each read or sort the ensemble again. Instead
they say beforehand what they sum along rows, and `points.point_statistics` hands them a piece of the field after
another as it passes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.verify.compiled import compiled

_POINTS: Final = 2048
"""Of a piece, about: 50 members and the same in order are 0.8 MB."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a field."""

    ensemble: NDArray[np.floating]
    """The whole, [number, latitude, longitude], contiguous"""
    truth: NDArray[np.floating]
    """The whole, [latitude, longitude], contiguous"""
    ordered: NDArray[np.floating]
    """Members minus the truth in ascending order, [number, point], the points of these rows only"""
    rows: tuple[int, int]
    """The first and the one after the last"""


class RowSums(Protocol):
    """What adds up, row by row."""

    def add(self, piece: Piece) -> None:
        """Sum along the rows of a piece; each row comes once."""


def pieces_of(shape: tuple[int, int]) -> Iterable[tuple[int, int]]:
    """First row and the row after the last, of pieces of nearly equal size."""
    rows, columns = shape
    count = min(rows, -(-rows * columns // _POINTS))
    edges = [rows * k // count for k in range(count + 1)]
    return pairwise(edges)


@compiled
def _count_beyond(ensemble: Any, row: Any, sign: Any, bound: Any, counts: Any) -> None:
    """Members of a row with sign * value > bound; four at a time, because counts are read and written each time."""
    members, width = ensemble.shape[0], len(counts)
    counts[:] = 0
    for m in range(0, members - members % 4, 4):
        p, q, r, s = ensemble[m, row], ensemble[m + 1, row], ensemble[m + 2, row], ensemble[m + 3, row]
        for j in range(width):
            limit = bound[j]
            two = np.int32(sign * p[j] > limit) + np.int32(sign * q[j] > limit)
            counts[j] += two + np.int32(sign * r[j] > limit) + np.int32(sign * s[j] > limit)
    for m in range(members - members % 4, members):
        p = ensemble[m, row]
        for j in range(width):
            counts[j] += np.int32(sign * p[j] > bound[j])


@compiled
def event_tables(
    ensemble: Any, truth: Any, threshold: Any, above: Any, asked: Any, columns: Any, rows: Any, out: Any
) -> None:
    """Add to out[table, set, row, members in the event] the points where the event is asked, and where it occurred.

    The event is a value strictly above the threshold, or strictly below it; NaN is neither.
    `rows` are the first and the one after the last.
    """
    kind, width = truth.dtype.type, truth.shape[1]
    sign = kind(1.0) if above else kind(-1.0)
    counts, bound = np.empty(width, np.int32), np.empty(width, kind)
    for i in range(rows[0], rows[1]):
        for j in range(width):
            bound[j] = sign * threshold[i, j]
        _count_beyond(ensemble, i, sign, bound, counts)
        for c in range(columns.shape[0]):
            of_all, of_occurred = out[0, c, i], out[1, c, i]
            for j in range(width):
                if asked[i, j] and columns[c, j]:
                    of_all[counts[j]] += 1.0
                    if sign * truth[i, j] > bound[j]:
                        of_occurred[counts[j]] += 1.0


@compiled
def tail_sums(
    ordered: Any, truth: Any, threshold: Any, above: Any, valid: Any, columns: Any, rows: Any, out: Any
) -> None:
    """out[estimator, set, row] = sum of the fair and the standard CRPS of values clipped at the threshold.

    Members in order stay in order when they are clipped. Fair is NaN for one member; a threshold that is NaN gives NaN.
    """
    members, width = ordered.shape[0], truth.shape[1]
    kind = truth.dtype.type
    one, zero = kind(1.0), kind(0.0)
    sign = one if above else -one
    bound, absolute, difference = np.empty(width, kind), np.empty(width, kind), np.empty(width, kind)
    for i in range(rows[0], rows[1]):
        for j in range(width):
            bound[j] = sign * (threshold[i, j] - truth[i, j])
        absolute[:], difference[:] = zero, zero
        first = (i - rows[0]) * width
        for k in range((members + 1) // 2):
            other = members - 1 - k
            low_row, high_row = ordered[k, first : first + width], ordered[other, first : first + width]
            factor, twice = sign * kind(other - k), one if other > k else zero
            for j in range(width):
                low, high, limit = sign * low_row[j], sign * high_row[j], bound[j]
                # The comparison is false for NaN, which is then what remains.
                low, high = low if low > limit else limit, high if high > limit else limit
                observed = zero if limit < zero else limit
                absolute[j] += abs(low - observed) + twice * abs(high - observed)
                difference[j] += factor * (high - low)
        apart, share = one / kind(max(members * (members - 1), 1)), one - one / kind(members)
        for c in range(columns.shape[0]):
            fair = standard = 0.0
            for j in range(width):
                if valid[i, j] and columns[c, j]:
                    mean, half = absolute[j] / kind(members), difference[j] * apart
                    fair += mean - half
                    standard += mean - share * half
            out[0, c, i], out[1, c, i] = fair if members > 1 else np.nan, standard


@compiled
def _total(values: Any) -> Any:
    """Sum in float64, eight sums side by side, because an addition waits for the one before it."""
    sums, whole = np.zeros(8), len(values) - len(values) % 8
    for j in range(0, whole, 8):
        for k in range(8):
            sums[k] += np.float64(values[j + k])
    total = sums.sum()
    for j in range(whole, len(values)):
        total += np.float64(values[j])
    return total


@compiled
def bin_sums(ordered: Any, width: Any, valid: Any, columns: Any, rows: Any, out: Any) -> None:
    """out[part, set, row, bin] = sum of the lengths of a bin below and above the truth (`hersbach`), which is 0 here.

    Bins reach from one member to the next, the outer ones from the truth to a member.
    """
    members, zero = ordered.shape[0], ordered.dtype.type(0.0)
    alpha, beta = np.empty(width, ordered.dtype), np.empty(width, ordered.dtype)
    for i in range(rows[0], rows[1]):
        of_row = ordered[:, (i - rows[0]) * width : (i + 1 - rows[0]) * width]
        for c in range(columns.shape[0]):
            kept = valid[i] & columns[c]
            for b in range(members + 1):
                lower, upper = of_row[max(b - 1, 0)], of_row[min(b, members - 1)]
                lowest, highest = b == 0, b == members
                for j in range(width):
                    low = zero if lowest and lower[j] > zero else lower[j]
                    high = zero if highest and upper[j] < zero else upper[j]
                    middle = low if low > zero else zero
                    middle = middle if middle < high else high
                    alpha[j] = middle - low if kept[j] else zero
                    beta[j] = high - middle if kept[j] else zero
                out[0, c, i, b], out[1, c, i, b] = _total(alpha), _total(beta)
