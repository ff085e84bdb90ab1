"""Compiled sums along the rows of a grid, in float64 and in the order of the columns: equal runs give equal bits.

They are in one file, because numba notices changes of the file of a compiled function only.
"""

from typing import Any

import numpy as np

from fuxi_ens.verify.compiled import compiled


@compiled
def row_sums(points: Any, valid: Any, columns: Any, out: Any) -> None:
    """out[statistic, set, row] = sum over the valid columns of a set.

    Four rows go side by side, because an addition waits for the one before it in its own row.
    """
    last = points.shape[1] - 1
    for k in range(points.shape[0]):
        for c in range(columns.shape[0]):
            for a in range(0, last + 1, 4):
                # Beyond the last row it is summed again, to the same bits.
                b, d, e = min(a + 1, last), min(a + 2, last), min(a + 3, last)
                sum_a = sum_b = sum_d = sum_e = 0.0
                for j in range(points.shape[2]):
                    if columns[c, j]:
                        sum_a += np.float64(points[k, a, j]) if valid[a, j] else 0.0
                        sum_b += np.float64(points[k, b, j]) if valid[b, j] else 0.0
                        sum_d += np.float64(points[k, d, j]) if valid[d, j] else 0.0
                        sum_e += np.float64(points[k, e, j]) if valid[e, j] else 0.0
                out[k, c, a], out[k, c, b], out[k, c, d], out[k, c, e] = sum_a, sum_b, sum_d, sum_e


@compiled
def averages(absolute_error: Any, difference: Any, error: Any, variance: Any, share: Any, out: Any) -> None:
    """Fill `out` [6, latitude, longitude] as `points.Points.averages` says; `share` is 1 - 1/M."""
    for i in range(error.shape[0]):
        for j in range(error.shape[1]):
            apart, off = difference[i, j], error[i, j]
            out[0, i, j] = absolute_error[i, j] - apart if share > 0 else np.nan
            out[1, i, j] = absolute_error[i, j] - share * apart
            out[2, i, j] = off * off
            out[3, i, j] = variance[i, j]
            out[4, i, j] = off
            out[5, i, j] = abs(off)


@compiled
def row_sums_of_averages(
    absolute_error: Any, difference: Any, error: Any, variance: Any, share: Any, valid: Any, columns: Any, out: Any
) -> None:
    """`row_sums` of `averages`, a few rows at a time, which stay in the cache."""
    height, width = error.shape
    part = np.empty((6, 4, width), error.dtype)
    for i in range(0, height, 4):
        stop = min(i + 4, height)
        few = part[:, : stop - i]
        averages(absolute_error[i:stop], difference[i:stop], error[i:stop], variance[i:stop], share, few)
        row_sums(few, valid[i:stop], columns, out[:, :, i:stop])


@compiled
def count_ranks(below: Any, equal: Any, valid: Any, columns: Any, out: Any) -> None:
    """Add to out[set, row, rank] what a point shares among the ranks below .. below + equal."""
    for c in range(columns.shape[0]):
        for i in range(valid.shape[0]):
            for j in range(valid.shape[1]):
                if not (valid[i, j] and columns[c, j]):
                    continue
                if equal[i, j] == 0:
                    out[c, i, below[i, j]] += 1.0
                else:
                    share = 1.0 / (equal[i, j] + 1)
                    for rank in range(below[i, j], below[i, j] + equal[i, j] + 1):
                        out[c, i, rank] += share
