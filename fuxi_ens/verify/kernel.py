"""Compiled: one pass over an ensemble that gives everything `points.Points` holds, for float32 fields.

Points lie side by side in vector registers, one register per member. The truth is subtracted, the sums are taken, and
the members of all points in the registers are sorted together by a network of comparators, min and max only, without
a branch (Batcher 1968). Up to `STRAIGHT_MEMBERS` members of large fields the network is compiled as straight code,
where the optimizer keeps members in registers; beyond, comparators come from a table and members stay in the first
level of the cache. Both give the same bits. LLVM lowers the vectors to whatever the processor has.

Addresses instead of arrays cross the border into compiled code, so that there is one compiled version whatever the
layout of the arrays around it.
"""

from collections.abc import Callable
from typing import Any, Final

import llvmlite.binding
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fuxi_ens.verify.compiled import compiled
from fuxi_ens.verify.network import network, table
from fuxi_ens.verify.vectors import ADDRESS, FLOAT, Sums, Vectors, finish

_REGISTER: Final = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8
"""Points in a vector register."""
_TABLE_LANES: Final = 4 * _REGISTER
"""A comparator from a table waits for the one before; others go on meanwhile with other points."""
LEAST_POINTS: Final = _TABLE_LANES
OUTPUTS: Final = 6
"""Absolute error, difference, error, variance (float32), members below, members equal (int32)."""
STRAIGHT_MEMBERS: Final = 64
"""With more, registers no longer help; compilation takes about a second for 50 members."""
STRAIGHT_POINTS: Final = 2**17
"""Fields from this size on are worth the compilation."""
_CACHE_LINE: Final = 64
VECTORS_SHA256: Final = "4d94f3c7a6f72bf77b29f2be515aafc5faf8df79b68d63b831eed64e9e5622f9"
"""Of vectors.py, from which code is generated here."""


def run(
    ensemble: NDArray[np.float32],
    truth: NDArray[np.float32],
    out: NDArray[np.float32],
    ordered: NDArray[np.float32] | None = None,
    *,
    field_points: int = 0,
) -> None:
    """Fill `out` [OUTPUTS, point] from `ensemble` [number, point] and `truth` [point]; the last axis is contiguous.

    `ordered` [number, point], if given, gets the members minus the truth in ascending order, without meaning where one
    is not finite.

    Counts are int32 behind the float32 of `out`. NaN or infinity in a member or the truth gives NaN or infinity in the
    averages; for one member the difference is 0 and the variance NaN. `field_points` is the size of the whole field
    when this is a part of it. Releases the GIL. Raises ValueError for fewer than `LEAST_POINTS` points and for arrays
    of another layout.
    """
    members, points = ensemble.shape
    for array in (ensemble, truth, out) if ordered is None else (ensemble, truth, out, ordered):
        if array.dtype != np.float32 or array.strides[-1] != 4:
            raise ValueError(f"the kernel needs contiguous float32 points, got {array.dtype}, strides {array.strides}")
    if points < LEAST_POINTS or truth.shape != (points,) or out.shape != (OUTPUTS, points):
        raise ValueError(
            f"shapes do not fit: {ensemble.shape}, {truth.shape}, {out.shape}; at least {LEAST_POINTS} points"
        )
    if ordered is not None and ordered.shape != ensemble.shape:
        raise ValueError(f"members in order need the shape of the ensemble, {ensemble.shape}, got {ordered.shape}")
    kept = (0, 0) if ordered is None else (ordered.ctypes.data, ordered.strides[0])
    places = (
        ensemble.ctypes.data, ensemble.strides[0], truth.ctypes.data, out.ctypes.data, out.strides[0], *kept, points
    )  # fmt: skip
    if members <= STRAIGHT_MEMBERS and max(points, field_points) >= STRAIGHT_POINTS:
        _straight_code(*places, (None,) * members)
    else:
        _from_table(*places, members, table(members, 4 * _TABLE_LANES))


def _generate_straight(  # noqa: PLR0913 (one for each argument of the instruction)
    context: Any, ensemble: Any, stride: Any, truth: Any, out: Any, out_stride: Any, ordered: Any, ordered_stride: Any,
    members: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """One vector of points; all places are addresses and strides in bytes, `ordered` may be 0 for nowhere.

    `members` is a tuple of that length.
    """
    count = len(members)
    comparators = network(count)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source, source_stride, truth_at, out_at, out_step, ordered_at, ordered_step, _ = arguments
        v = Vectors(builder, _REGISTER)
        observed = v.load(truth_at)
        values = [builder.fsub(v.load(v.at(source, ADDRESS(k), source_stride)), observed) for k in range(count)]
        sums: Sums = (v.zero, v.zero, v.no_count, v.no_count)
        for k in range(0, count - count % 4, 4):
            sums = v.gathered(sums, values[k : k + 4])
        for k in range(count - count % 4, count):
            sums = v.gathered(sums, values[k : k + 1])
        for i, j in comparators:
            values[i], values[j] = v.exchanged(values[i], values[j])
        with builder.if_then(builder.icmp_unsigned("!=", ordered_at, ADDRESS(0))):
            for k, value in enumerate(values):
                v.store(value, v.at(ordered_at, ADDRESS(k), ordered_step))
        mean = builder.fdiv(sums[0], v.splat(FLOAT(count)))
        squares = weighted = v.zero
        for k in range(0, count - count % 4, 4):
            squares = v.squares(squares, mean, values[k : k + 4])
        for k in range(count - count % 4, count):
            squares = v.squares(squares, mean, values[k : k + 1])
        for k in range(count // 2):
            factor = v.constant(float(count - 1 - 2 * k))
            weighted = v.weighted(weighted, factor, values[k], values[count - 1 - k])
        finish(v, sums, squares, weighted, FLOAT(count), (out_at, out_step))
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 7, members), generate


class _Loops:
    """Like `_generate_straight`, with loops over the members, which lie in `scratch`, a vector for each."""

    def __init__(self, builder: Any, source: tuple[Any, Any], count: Any, scratch: Any) -> None:
        self.b, self.v, self.step = builder, Vectors(builder, _TABLE_LANES), ADDRESS(4 * _TABLE_LANES)
        self._source, self.count, self._scratch = source, count, scratch
        self._quarters = builder.udiv(count, ADDRESS(4))

    def member(self, position: Any) -> Any:
        """Address of a member's vector."""
        return self.v.at(self._scratch, position, self.step)

    def in_fours(self, body: Callable[[list[Any]], None]) -> None:
        """Give the positions of all members to `body`, by four and then one by one."""
        b, rest = self.b, self.b.urem(self.count, ADDRESS(4))
        left = b.mul(self._quarters, ADDRESS(4))
        for size, start, number in ((4, ADDRESS(0), self._quarters), (1, left, rest)):
            with cgutils.for_range(b, number) as loop:
                first = b.add(start, b.mul(loop.index, ADDRESS(size)))
                body([b.add(first, ADDRESS(k)) for k in range(size)])

    def shift(self, observed: Any) -> Sums:
        """Members minus the truth into the scratch; their sums."""
        b, v = self.b, self.v
        kept = [cgutils.alloca_once_value(b, zero) for zero in (v.zero, v.zero, v.no_count, v.no_count)]

        def body(positions: list[Any]) -> None:
            values = [b.fsub(v.load(v.at(self._source[0], k, self._source[1])), observed) for k in positions]
            for k, value in zip(positions, values, strict=True):
                v.store(value, self.member(k))
            sums = v.gathered((b.load(kept[0]), b.load(kept[1]), b.load(kept[2]), b.load(kept[3])), values)
            for slot, value in zip(kept, sums, strict=True):
                b.store(value, slot)

        self.in_fours(body)
        return b.load(kept[0]), b.load(kept[1]), b.load(kept[2]), b.load(kept[3])

    def sort(self, table_at: Any, rows: Any) -> None:
        """By the comparators of the table, pairs of offsets."""
        b, v = self.b, self.v
        with cgutils.for_range(b, rows) as loop:
            row = v.at(table_at, loop.index, ADDRESS(16))
            pair = [b.load(b.inttoptr(b.add(row, ADDRESS(8 * k)), ADDRESS.as_pointer())) for k in (0, 1)]
            low, high = (b.add(self._scratch, offset) for offset in pair)
            for value, place in zip(v.exchanged(v.load(low), v.load(high)), (low, high), strict=True):
                v.store(value, place)

    def copy(self, address: Any, stride: Any) -> None:
        """The scratch to a place that may be 0 for nowhere."""
        b = self.b
        with b.if_then(b.icmp_unsigned("!=", address, ADDRESS(0))), cgutils.for_range(b, self.count) as loop:
            self.v.store(self.v.load(self.member(loop.index)), self.v.at(address, loop.index, stride))

    def squares(self, mean: Any) -> Any:
        """Sum of squares about the mean."""
        total = cgutils.alloca_once_value(self.b, self.v.zero)

        def body(positions: list[Any]) -> None:
            values = [self.v.load(self.member(k)) for k in positions]
            self.b.store(self.v.squares(self.b.load(total), mean, values), total)

        self.in_fours(body)
        return self.b.load(total)

    def weighted(self) -> Any:
        """Of the members in order, the outer pairs first, as the straight code does it."""
        b, v = self.b, self.v
        total, last = cgutils.alloca_once_value(b, v.zero), b.sub(self.count, ADDRESS(1))
        with cgutils.for_range(b, b.udiv(self.count, ADDRESS(2))) as loop:
            factor = b.sitofp(b.sub(last, b.mul(loop.index, ADDRESS(2))), FLOAT)
            low, high = (v.load(self.member(k)) for k in (loop.index, b.sub(last, loop.index)))
            b.store(v.weighted(b.load(total), v.splat(factor), low, high), total)
        return b.load(total)


def _generate_loops(  # noqa: PLR0913 (one for each argument of the instruction)
    context: Any, ensemble: Any, stride: Any, truth: Any, out: Any, out_stride: Any, ordered: Any, ordered_stride: Any,
    members: Any, table: Any, comparators: Any, scratch: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """One vector of points by `_Loops`; `table` and `scratch` are addresses."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source, source_stride, truth_at, out_at, out_step, ordered_at, ordered_step, count, *sorting = arguments
        table_at, rows, scratch_at = sorting
        loops = _Loops(builder, (source, source_stride), count, scratch_at)
        floats = builder.sitofp(count, FLOAT)
        sums = loops.shift(loops.v.load(truth_at))
        loops.sort(table_at, rows)
        loops.copy(ordered_at, ordered_step)
        mean = builder.fdiv(sums[0], loops.v.splat(floats))
        finish(loops.v, sums, loops.squares(mean), loops.weighted(), floats, (out_at, out_step))
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 11), generate


# numba hands `context` in; type checkers cannot know.
_straight_tile: Any = intrinsic(_generate_straight)
_table_tile: Any = intrinsic(_generate_loops)


def _straight(  # noqa: PLR0913 (plain numbers, because they cross into compiled code)
    ensemble: int, stride: int, truth: int, out: int, out_stride: int, ordered: int, ordered_stride: int, points: int,
    members: Any,
) -> None:  # fmt: skip
    for index in range(0, points, _REGISTER):
        # The last vector overlaps the one before.
        offset = 4 * min(index, points - _REGISTER)
        place = ordered + offset if ordered else 0
        _straight_tile(
            ensemble + offset, stride, truth + offset, out + offset, out_stride, place, ordered_stride, members
        )


def _by_table(  # noqa: PLR0913 (plain numbers, because they cross into compiled code)
    ensemble: int, stride: int, truth: int, out: int, out_stride: int, ordered: int, ordered_stride: int, points: int,
    members: int, table: Any,
) -> None:  # fmt: skip
    scratch = np.empty(4 * _TABLE_LANES * members + _CACHE_LINE, np.uint8)
    aligned = (scratch.ctypes.data + _CACHE_LINE - 1) // _CACHE_LINE * _CACHE_LINE
    for index in range(0, points, _TABLE_LANES):
        offset = 4 * min(index, points - _TABLE_LANES)
        place = ordered + offset if ordered else 0
        _table_tile(
            ensemble + offset, stride, truth + offset, out + offset, out_stride, place, ordered_stride, members,
            table.ctypes.data, table.shape[0], aligned,
        )  # fmt: skip


_straight_code = compiled(_straight)
_from_table = compiled(_by_table)
