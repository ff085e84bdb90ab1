"""What one pass over an ensemble gives at every point. Members lie along the first axis."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from fuxi_ens.grid import Float
from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.verify import kernel, rows
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.compiled import compiled
from fuxi_ens.verify.pieces import Piece, RowSums, pieces_of

Field = NDArray[np.float32]
Counts = NDArray[np.int32]

_CRPS_POINTS: Final = 2**16
"""Points that `crps` takes at once."""
_ordered: Final = Scratch()
"""Of the piece at hand."""


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
        result = np.empty((6, *self.error.shape), self.error.dtype)
        rows.averages(*self._parts, result)
        return result

    def sums_of_averages(self, areas: Areas, valid: NDArray[np.bool_]) -> Float:
        """`areas.sums(averages(), valid)`, [6, region], to the bit, without memory for the averages."""
        by_row = np.empty((6, len(areas.columns), len(valid)))
        rows.row_sums_of_averages(*self._parts, valid, areas.columns, by_row)
        return areas.of_row_sums(by_row)

    @property
    def _parts(self) -> tuple[Any, Any, Any, Any, Any]:
        share = self.error.dtype.type(1 - 1 / self.members)
        return self.absolute_error, self.difference, self.error, self.variance, share


def point_statistics(
    ensemble: NDArray[np.floating],
    truth: NDArray[np.floating],
    memory: Scratch | None = None,
    row_sums: Sequence[RowSums] = (),
) -> Points:
    """Statistics of `ensemble` [number, latitude, longitude] and `truth`; NaN in any member or the truth gives NaN.

    The truth is subtracted first, which keeps float32 geopotential accurate (verification.md 4.6). float32 fields go
    through the compiled kernel; others, and those of a few points, through `with_numpy`. With `memory` the result holds
    until it is used again. `row_sums` are given the members of each row as they pass.
    """
    if ensemble.dtype != np.float32 or truth.dtype != np.float32 or truth.size < kernel.LEAST_POINTS:
        return _slowly(ensemble, truth, row_sums)
    members, points = len(ensemble), truth.size
    shape = kernel.OUTPUTS, points
    out = np.empty(shape, np.float32) if memory is None else memory.take(shape, np.float32)
    flat, observed = _flat(ensemble, (members, points)), _flat(truth, (points,))
    if row_sums:
        _by_pieces(flat.reshape(ensemble.shape), observed.reshape(truth.shape), out, row_sums)
    else:
        kernel.run(flat, observed, out)
    fields = out.reshape(-1, *truth.shape)
    absolute_error, difference, error, variance = fields[:4]
    below, equal = fields[4:].view(np.int32)
    return Points(absolute_error, difference, error, variance, below, equal, members)


def _by_pieces(ensemble: Field, truth: Field, out: Field, row_sums: Sequence[RowSums]) -> None:
    """The kernel's pass, some rows at a time, and the row sums of these while their members are in the cache."""
    members, (rows, columns) = len(ensemble), truth.shape
    flat, observed = ensemble.reshape(members, -1), truth.reshape(-1)
    for start, stop in pieces_of((rows, columns)):
        points = slice(start * columns, stop * columns)
        ordered = _ordered.take((members, points.stop - points.start), np.float32)
        kernel.run(flat[:, points], observed[points], out[:, points], ordered, field_points=truth.size)
        for sums in row_sums:
            sums.add(Piece(ensemble, truth, ordered, (start, stop)))


def _slowly(ensemble: NDArray[np.floating], truth: NDArray[np.floating], row_sums: Sequence[RowSums]) -> Points:
    """What the kernel's passes give, by `with_numpy`."""
    if row_sums:
        whole = np.ascontiguousarray(ensemble), np.ascontiguousarray(truth)
        ordered = np.sort(whole[0] - whole[1], axis=0).reshape(len(ensemble), -1)
        for sums in row_sums:
            sums.add(Piece(*whole, ordered, (0, len(truth))))
    return with_numpy(ensemble, truth)


def crps(ensemble: Field, truth: Field, weight_of_difference: float, threads: int = 1) -> Field:
    """Mean |x_i - y| minus so much of half the mean |x_i - x_j|, [latitude, longitude]; float32 fields.

    1 gives the fair CRPS, 1 - 1/M the standard one. Beside the result it needs memory for `_CRPS_POINTS` points. The
    field is cut among `threads`.
    """
    members, points = len(ensemble), truth.size
    flat, observed = _flat(ensemble, (members, points)), _flat(truth, (points,))
    result = np.empty(points, np.float32)

    def part(start: int) -> None:
        # A last piece that is too short for the kernel overlaps the one before.
        piece = slice(max(0, min(start, points - kernel.LEAST_POINTS)), min(start + _CRPS_POINTS, points))
        out = np.empty((kernel.OUTPUTS, piece.stop - piece.start), np.float32)
        kernel.run(flat[:, piece], observed[piece], out, field_points=points)
        np.subtract(out[0], np.float32(weight_of_difference) * out[1], out=result[piece])

    starts = range(0, points, _CRPS_POINTS)
    if threads == 1:
        for start in starts:
            part(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, starts))
    return result.reshape(truth.shape)


def _flat(array: Field, shape: tuple[int, ...]) -> Field:
    """With one axis of points, copied only if latitude and longitude are not contiguous as they are."""
    rows, columns = array.shape[-2:]
    contiguous = array.strides[-2:] == (4 * columns, 4) or array.flags.c_contiguous
    if not contiguous:
        array = np.ascontiguousarray(array)
    return as_strided(array, shape, (*array.strides[:-2], 4), writeable=False) if rows else array.reshape(shape)


def with_numpy(ensemble: NDArray[np.floating], truth: NDArray[np.floating]) -> Points:
    """What `point_statistics` gives, in the type of the arguments, slower and with two more ensembles of memory."""
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
    counts = np.zeros(thresholds.shape, np.int32)
    _count_above(ensemble, np.asarray(thresholds, ensemble.dtype), counts)
    return counts


@compiled
def _count_above(ensemble: Any, thresholds: Any, counts: Any) -> None:
    for i in range(counts.shape[1]):
        for m in range(ensemble.shape[0]):
            for k in range(counts.shape[0]):
                for j in range(counts.shape[2]):
                    counts[k, i, j] += ensemble[m, i, j] > thresholds[k, i, j]
