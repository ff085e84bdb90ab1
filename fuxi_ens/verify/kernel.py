"""Compiled: one pass over an ensemble that gives everything `points.Points` holds, for float32 fields.

Points lie side by side in vector registers, one register per member. The truth is subtracted, the sums are taken, and
the members of all points in the registers are sorted together by a network of comparators, min and max only, without
a branch (Batcher 1968). Up to `STRAIGHT_MEMBERS` members of large fields the network is compiled as straight code,
where the optimizer keeps members in registers; beyond, comparators come from a table and members stay in the first
level of the cache. Both give the same bits. LLVM lowers the vectors to whatever the processor has.

Instructions are generated in this file, because numba notices changes of the file of a compiled function only.
Addresses instead of arrays cross the border into compiled code, so that there is one compiled version whatever the
layout of the arrays around it.
"""

from collections.abc import Callable
from typing import Any, Final

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fuxi_ens.verify.compiled import compiled
from fuxi_ens.verify.network import network, table

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

_FLOAT, _INT, _ADDRESS = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def run(
    ensemble: NDArray[np.float32], truth: NDArray[np.float32], out: NDArray[np.float32], *, field_points: int = 0
) -> None:
    """Fill `out` [OUTPUTS, point] from `ensemble` [number, point] and `truth` [point]; the last axis is contiguous.

    Counts are int32 behind the float32 of `out`. NaN or infinity in a member or the truth gives NaN or infinity in the
    averages; for one member the difference is 0 and the variance NaN. `field_points` is the size of the whole field
    when this is a part of it. Releases the GIL. Raises ValueError for fewer than `LEAST_POINTS` points and for arrays
    of another layout.
    """
    members, points = ensemble.shape
    for array in (ensemble, truth, out):
        if array.dtype != np.float32 or array.strides[-1] != 4:
            raise ValueError(f"the kernel needs contiguous float32 points, got {array.dtype}, strides {array.strides}")
    if points < LEAST_POINTS or truth.shape != (points,) or out.shape != (OUTPUTS, points):
        raise ValueError(
            f"shapes do not fit: {ensemble.shape}, {truth.shape}, {out.shape}; at least {LEAST_POINTS} points"
        )
    places = (ensemble.ctypes.data, ensemble.strides[0], truth.ctypes.data, out.ctypes.data, out.strides[0], points)
    if members <= STRAIGHT_MEMBERS and max(points, field_points) >= STRAIGHT_POINTS:
        _straight_code(*places, (None,) * members)
    else:
        _from_table(*places, members, table(members, 4 * _TABLE_LANES))


class _Vectors:
    """Builds vector instructions."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self.b = builder
        self._lanes = lanes
        self._floats, self._ints = ir.VectorType(_FLOAT, lanes), ir.VectorType(_INT, lanes)
        self.zero = self.constant(0.0)
        self.no_count = ir.Constant(self._ints, [0] * lanes)
        self._abs = self._function("fabs", 1)
        self._min, self._max = self._function("minnum", 2), self._function("maxnum", 2)

    def _function(self, name: str, arguments: int) -> Any:
        kind = ir.FunctionType(self._floats, [self._floats] * arguments)
        return cgutils.get_or_insert_function(self.b.module, kind, f"llvm.{name}.v{self._lanes}f32")

    def constant(self, value: float) -> Any:
        return ir.Constant(self._floats, [value] * self._lanes)

    def load(self, address: Any) -> Any:
        value = self.b.load(self.b.inttoptr(address, self._floats.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Any, address: Any) -> None:
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer())).align = 4

    def at(self, base: Any, index: Any, stride: Any) -> Any:
        return self.b.add(base, self.b.mul(index, stride))

    def abs(self, value: Any) -> Any:
        return self.b.call(self._abs, [value])

    def splat(self, scalar: Any) -> Any:
        one = self.b.insert_element(ir.Constant(self._floats, ir.Undefined), scalar, _INT(0))
        return self.b.shuffle_vector(one, one, self.no_count)

    def exchanged(self, p: Any, q: Any) -> tuple[Any, Any]:
        """The smaller and the larger, one instruction each; without meaning for NaN (`_finish` deals with that)."""
        return self.b.call(self._min, [p, q], fastmath=("nnan", "nsz")), self.b.call(
            self._max, [p, q], fastmath=("nnan", "nsz")
        )

    def total(self, values: list[Any]) -> Any:
        """Sum of up to four, in pairs: shorter chains are faster and more accurate."""
        while len(values) > 1:
            pairs = [self.b.fadd(p, q) for p, q in zip(values[::2], values[1::2], strict=False)]
            values = pairs + values[2 * len(pairs) :]
        return values[0]

    def counted(self, count: Any, relation: str, value: Any) -> Any:
        """`count` plus one where `value` has the relation to 0."""
        return self.b.sub(count, self.b.sext(self.b.fcmp_ordered(relation, value, self.zero), self._ints))

    def gathered(self, sums: "_Sums", shifted: list[Any]) -> "_Sums":
        below, equal = sums[2:]
        for value in shifted:
            below, equal = self.counted(below, "<", value), self.counted(equal, "==", value)
        error = self.b.fadd(sums[0], self.total(shifted))
        return error, self.b.fadd(sums[1], self.total([self.abs(v) for v in shifted])), below, equal

    def squares(self, total: Any, mean: Any, values: list[Any]) -> Any:
        off = [self.b.fsub(value, mean) for value in values]
        return self.b.fadd(total, self.total([self.b.fmul(v, v) for v in off]))

    def weighted(self, total: Any, factor: Any, low: Any, high: Any) -> Any:
        return self.b.fadd(total, self.b.fmul(factor, self.b.fsub(high, low)))


_Sums = tuple[Any, Any, Any, Any]
"""Sum of members minus truth, of its absolute value, members below, members equal."""


def _finish(v: _Vectors, sums: _Sums, squares: Any, weighted: Any, members: Any, places: Any) -> None:
    """Sums to averages, stored at `places` (address, stride); `members` is a scalar float."""
    b, (out, stride) = v.b, places
    less = b.fsub(members, _FLOAT(1.0))
    error = b.fdiv(sums[0], v.splat(members))
    pairs = b.fmul(members, b.select(b.fcmp_ordered(">", less, _FLOAT(0.0)), less, _FLOAT(1.0)))
    # What was sorted means nothing where a member is not finite.
    finite, unknown = b.fcmp_ordered("==", b.fsub(error, error), v.zero), v.constant(float("nan"))
    difference = b.select(finite, b.fdiv(weighted, v.splat(pairs)), unknown)
    variance = b.select(finite, b.fdiv(squares, v.splat(less)), unknown)
    results = (b.fdiv(sums[1], v.splat(members)), difference, error, variance, *sums[2:])
    for index, result in enumerate(results):
        v.store(result, v.at(out, _ADDRESS(index), stride))


def _generate_straight(
    context: Any, ensemble: Any, stride: Any, truth: Any, out: Any, out_stride: Any, members: Any
) -> tuple[Any, Callable[..., Any]]:
    """One vector of points; all places are addresses and strides in bytes. `members` is a tuple of that length."""
    count = len(members)
    comparators = network(count)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source, source_stride, truth_at, out_at, out_step, _ = arguments
        v = _Vectors(builder, _REGISTER)
        observed = v.load(truth_at)
        values = [builder.fsub(v.load(v.at(source, _ADDRESS(k), source_stride)), observed) for k in range(count)]
        sums: _Sums = (v.zero, v.zero, v.no_count, v.no_count)
        for k in range(0, count - count % 4, 4):
            sums = v.gathered(sums, values[k : k + 4])
        for k in range(count - count % 4, count):
            sums = v.gathered(sums, values[k : k + 1])
        for i, j in comparators:
            values[i], values[j] = v.exchanged(values[i], values[j])
        mean = builder.fdiv(sums[0], v.splat(_FLOAT(count)))
        squares = weighted = v.zero
        for k in range(0, count - count % 4, 4):
            squares = v.squares(squares, mean, values[k : k + 4])
        for k in range(count - count % 4, count):
            squares = v.squares(squares, mean, values[k : k + 1])
        for k in range(count // 2):
            factor = v.constant(float(count - 1 - 2 * k))
            weighted = v.weighted(weighted, factor, values[k], values[count - 1 - k])
        _finish(v, sums, squares, weighted, _FLOAT(count), (out_at, out_step))
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64, members), generate


def _generate_loops(  # noqa: PLR0913 (one for each argument of the instruction)
    context: Any, ensemble: Any, stride: Any, truth: Any, out: Any, out_stride: Any, members: Any, table: Any,
    comparators: Any, scratch: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """Like `_generate_straight`, with loops: `table` and `scratch` (a vector for each member) are addresses."""

    def generate(_context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        source, source_stride, truth_at, out_at, out_step, count, table_at, rows, scratch_at = arguments
        v, vector = _Vectors(b, _TABLE_LANES), _ADDRESS(4 * _TABLE_LANES)
        observed, floats = v.load(truth_at), b.sitofp(count, _FLOAT)
        kept = [cgutils.alloca_once_value(b, zero) for zero in (v.zero, v.zero, v.no_count, v.no_count)]
        quarters, rest = b.mul(b.udiv(count, _ADDRESS(4)), _ADDRESS(4)), b.urem(count, _ADDRESS(4))

        def in_fours(body: Callable[[list[Any]], None]) -> None:
            """Give all members to `body`, by four and then one by one."""
            for size, start, number in ((4, _ADDRESS(0), b.udiv(count, _ADDRESS(4))), (1, quarters, rest)):
                with cgutils.for_range(b, number) as loop:
                    first = b.add(start, b.mul(loop.index, _ADDRESS(size)))
                    body([b.add(first, _ADDRESS(k)) for k in range(size)])

        def shift(positions: list[Any]) -> None:
            values = [b.fsub(v.load(v.at(source, k, source_stride)), observed) for k in positions]
            for k, value in zip(positions, values, strict=True):
                v.store(value, v.at(scratch_at, k, vector))
            sums = v.gathered((b.load(kept[0]), b.load(kept[1]), b.load(kept[2]), b.load(kept[3])), values)
            for slot, value in zip(kept, sums, strict=True):
                b.store(value, slot)

        in_fours(shift)
        with cgutils.for_range(b, rows) as loop:
            row = v.at(table_at, loop.index, _ADDRESS(16))
            pair = [b.load(b.inttoptr(b.add(row, _ADDRESS(8 * k)), _ADDRESS.as_pointer())) for k in (0, 1)]
            low, high = (b.add(scratch_at, offset) for offset in pair)
            for value, place in zip(v.exchanged(v.load(low), v.load(high)), (low, high), strict=True):
                v.store(value, place)
        mean = b.fdiv(b.load(kept[0]), v.splat(floats))
        squares, weighted = (cgutils.alloca_once_value(b, v.zero) for _ in range(2))

        def square(positions: list[Any]) -> None:
            values = [v.load(v.at(scratch_at, k, vector)) for k in positions]
            b.store(v.squares(b.load(squares), mean, values), squares)

        in_fours(square)
        last = b.sub(count, _ADDRESS(1))
        with cgutils.for_range(b, b.udiv(count, _ADDRESS(2))) as loop:
            factor = b.sitofp(b.sub(last, b.mul(loop.index, _ADDRESS(2))), _FLOAT)
            low, high = (v.load(v.at(scratch_at, k, vector)) for k in (loop.index, b.sub(last, loop.index)))
            b.store(v.weighted(b.load(weighted), v.splat(factor), low, high), weighted)
        sums: _Sums = (b.load(kept[0]), b.load(kept[1]), b.load(kept[2]), b.load(kept[3]))
        _finish(v, sums, b.load(squares), b.load(weighted), floats, (out_at, out_step))
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 9), generate


# numba hands `context` in; type checkers cannot know.
_straight_tile: Any = intrinsic(_generate_straight)
_table_tile: Any = intrinsic(_generate_loops)


def _straight(ensemble: int, stride: int, truth: int, out: int, out_stride: int, points: int, members: Any) -> None:
    for index in range(0, points, _REGISTER):
        # The last vector overlaps the one before.
        offset = 4 * min(index, points - _REGISTER)
        _straight_tile(ensemble + offset, stride, truth + offset, out + offset, out_stride, members)


def _by_table(
    ensemble: int, stride: int, truth: int, out: int, out_stride: int, points: int, members: int, table: Any
) -> None:
    scratch = np.empty(4 * _TABLE_LANES * members + _CACHE_LINE, np.uint8)
    aligned = (scratch.ctypes.data + _CACHE_LINE - 1) // _CACHE_LINE * _CACHE_LINE
    for index in range(0, points, _TABLE_LANES):
        offset = 4 * min(index, points - _TABLE_LANES)
        _table_tile(
            ensemble + offset, stride, truth + offset, out + offset, out_stride, members, table.ctypes.data,
            table.shape[0], aligned,
        )  # fmt: skip


_straight_code = compiled(_straight)
_from_table = compiled(_by_table)
