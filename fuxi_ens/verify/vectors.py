"""Vector instructions of the kernel: a register holds points side by side.

numba keeps compiled functions until the file changes in which they stand, and knows nothing of this one. So `kernel`
names the hash of this file, which a test compares: whoever changes this file has to change that one.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

FLOAT, INT, ADDRESS = ir.FloatType(), ir.IntType(32), ir.IntType(64)


class Vectors:
    """Builds vector instructions."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self.b = builder
        self._lanes = lanes
        self._floats, self._ints = ir.VectorType(FLOAT, lanes), ir.VectorType(INT, lanes)
        self.zero = self.constant(0.0)
        self.no_count = ir.Constant(self._ints, [0] * lanes)
        self._abs = self._function("fabs", 1)
        self._min, self._max = self._function("minnum", 2), self._function("maxnum", 2)

    def _function(self, name: str, arguments: int) -> Any:
        kind = ir.FunctionType(self._floats, [self._floats] * arguments)
        return cgutils.get_or_insert_function(self.b.module, kind, f"llvm.{name}.v{self._lanes}f32")

    def constant(self, value: float) -> Any:
        """In all lanes."""
        return ir.Constant(self._floats, [value] * self._lanes)

    def load(self, address: Any) -> Any:
        """Floats from an address that need not be aligned."""
        value = self.b.load(self.b.inttoptr(address, self._floats.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Any, address: Any) -> None:
        """To an address that need not be aligned."""
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer())).align = 4

    def at(self, base: Any, index: Any, stride: Any) -> Any:
        """The address base + index * stride."""
        return self.b.add(base, self.b.mul(index, stride))

    def abs(self, value: Any) -> Any:
        """Absolute value."""
        return self.b.call(self._abs, [value])

    def splat(self, scalar: Any) -> Any:
        """A float in all lanes."""
        one = self.b.insert_element(ir.Constant(self._floats, ir.Undefined), scalar, INT(0))
        return self.b.shuffle_vector(one, one, self.no_count)

    def exchanged(self, p: Any, q: Any) -> tuple[Any, Any]:
        """The smaller and the larger, one instruction each; without meaning for NaN (`finish` deals with that)."""
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

    def gathered(self, sums: "Sums", shifted: list[Any]) -> "Sums":
        """`sums` with up to four more members, from which the truth is subtracted."""
        below, equal = sums[2:]
        for value in shifted:
            below, equal = self.counted(below, "<", value), self.counted(equal, "==", value)
        error = self.b.fadd(sums[0], self.total(shifted))
        return error, self.b.fadd(sums[1], self.total([self.abs(v) for v in shifted])), below, equal

    def squares(self, total: Any, mean: Any, values: list[Any]) -> Any:
        """`total` plus the squares of up to four values about the mean."""
        off = [self.b.fsub(value, mean) for value in values]
        return self.b.fadd(total, self.total([self.b.fmul(v, v) for v in off]))

    def weighted(self, total: Any, factor: Any, low: Any, high: Any) -> Any:
        """`total` plus factor * (high - low)."""
        return self.b.fadd(total, self.b.fmul(factor, self.b.fsub(high, low)))


Sums = tuple[Any, Any, Any, Any]
"""Sum of members minus truth, of its absolute value, members below, members equal."""


def finish(v: Vectors, sums: Sums, squares: Any, weighted: Any, members: Any, places: Any) -> None:
    """Sums to averages, stored at `places` (address, stride); `members` is a scalar float."""
    b, (out, stride) = v.b, places
    less = b.fsub(members, FLOAT(1.0))
    error = b.fdiv(sums[0], v.splat(members))
    pairs = b.fmul(members, b.select(b.fcmp_ordered(">", less, FLOAT(0.0)), less, FLOAT(1.0)))
    # What was sorted means nothing where a member is not finite.
    finite, unknown = b.fcmp_ordered("==", b.fsub(error, error), v.zero), v.constant(float("nan"))
    difference = b.select(finite, b.fdiv(weighted, v.splat(pairs)), unknown)
    variance = b.select(finite, b.fdiv(squares, v.splat(less)), unknown)
    results = (b.fdiv(sums[1], v.splat(members)), difference, error, variance, *sums[2:])
    for index, result in enumerate(results):
        v.store(result, v.at(out, ADDRESS(index), stride))
