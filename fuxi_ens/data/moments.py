"""Weighted mean and variance of fields and of their increments, in float64 and independent of how a pass is cut.

A block of frames gives weight, mean and squared deviations per channel; blocks are merged in the order of time, by the
rule of Chan, Golub and LeVeque (1983), which loses no digits where the mean is large and the spread is small.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sum of weights, mean, and weighted sum of squared deviations from it; one number per channel."""

    weight: Values
    mean: Values
    squares: Values

    @classmethod
    def none(cls, channels: int) -> "Moments":
        """Of no values at all."""
        return cls(*np.zeros((3, channels)))

    @classmethod
    def from_sums(cls, sums: Values, shift: Values) -> "Moments":
        """From the sums of 1, x - shift, (x - shift)**2, [3, channel]."""
        weight, first, second = sums
        mean = np.divide(first, weight, out=np.zeros_like(first), where=weight > 0)
        return cls(weight, shift + mean, np.maximum(second - first * mean, 0.0))

    def merge(self, other: "Moments") -> "Moments":
        """Of both sets of values; exact but for rounding, so keep to one order of merging for equal bits."""
        weight = self.weight + other.weight
        share = np.divide(other.weight, weight, out=np.zeros_like(weight), where=weight > 0)
        step = other.mean - self.mean
        return Moments(
            weight,
            self.mean + step * share,
            self.squares + other.squares + step**2 * self.weight * share,
        )

    @property
    def std(self) -> Values:
        """Standard deviation, 0 where there is no weight."""
        return np.sqrt(np.divide(self.squares, self.weight, out=np.zeros_like(self.weight), where=self.weight > 0))


@dataclass(frozen=True)
class BlockMoments:
    """What one block of consecutive frames contributes."""

    frames: int
    fields: Moments
    increments: Moments

    @classmethod
    def none(cls, channels: int) -> "BlockMoments":
        """Of no frames."""
        return cls(0, Moments.none(channels), Moments.none(channels))

    @classmethod
    def from_lists(cls, lists: dict[str, Any]) -> "BlockMoments":
        """What `as_lists` gave, bit for bit. Raises ValueError, TypeError or KeyError for anything else."""
        fields, increments = (Moments(*np.array(lists[key], np.float64)) for key in ("fields", "increments"))
        return cls(int(lists["frames"]), fields, increments)

    def as_lists(self) -> dict[str, Any]:
        """For a JSON file, in which every float64 has digits enough to come back as it was."""
        fields, increments = (
            [m.weight.tolist(), m.mean.tolist(), m.squares.tolist()] for m in (self.fields, self.increments)
        )
        return {"frames": self.frames, "fields": fields, "increments": increments}

    def merge(self, other: "BlockMoments") -> "BlockMoments":
        """Of both blocks; see `Moments.merge`."""
        return BlockMoments(
            self.frames + other.frames, self.fields.merge(other.fields), self.increments.merge(other.increments)
        )


class Accumulator:
    """Adds up frame after frame; `row_weights` are those of the latitudes, `log1p` marks channels logged first."""

    def __init__(self, row_weights: Values, log1p: Sequence[bool]) -> None:
        self._rows = np.ascontiguousarray(row_weights, dtype=np.float64)
        self._log1p = tuple(log1p)
        self._shift: Values | None = None
        self._sums = np.zeros((2, 3, len(self._log1p)))
        self._frames = 0

    def add(self, frame: NDArray[np.float32], previous: NDArray[np.float32] | None) -> None:
        """Add one frame [channel, latitude, longitude], and its increment if the frame one step before is given."""
        if self._shift is None:
            # Any value of the right size keeps the squares small; the first one is the same in every run.
            self._shift = np.array([_some_value(field, log) for field, log in zip(frame, self._log1p, strict=True)])
        self._frames += 1
        for c, log in enumerate(self._log1p):
            before = frame[c] if previous is None else previous[c]
            field, increment = _add_field(frame[c], before, self._rows, self._shift[c], log)
            self._sums[0, :, c] += field
            if previous is not None:
                self._sums[1, :, c] += increment

    def result(self) -> BlockMoments:
        """Moments of all frames so far."""
        shift = np.zeros(len(self._log1p)) if self._shift is None else self._shift
        return BlockMoments(
            self._frames,
            Moments.from_sums(self._sums[0], shift),
            Moments.from_sums(self._sums[1], np.zeros_like(shift)),
        )


def _some_value(field: NDArray[np.float32], log1p: bool) -> float:
    finite = field[np.isfinite(field)]
    value = float(finite[0]) if finite.size else 0.0
    return math.log1p(max(value, 0.0)) if log1p else value


def _field_sums(
    field: NDArray[np.float32], before: NDArray[np.float32], rows: Values, shift: float, log1p: bool
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Weighted sums of 1, d, d**2 for d = x - shift, and for d = x - x before. Missing points have no weight."""
    weight = first = second = 0.0
    weight_i = first_i = second_i = 0.0
    for j in range(field.shape[0]):
        n = s = q = n_i = s_i = q_i = 0.0
        for i in range(field.shape[1]):
            x = float(field[j, i])
            y = float(before[j, i])
            if log1p:
                x = math.log1p(max(x, 0.0))
                y = math.log1p(max(y, 0.0))
            d = x - shift
            # NaN is the only number that differs from itself.
            if d == d:
                n += 1.0
                s += d
                q += d * d
            d = x - y
            if d == d:
                n_i += 1.0
                s_i += d
                q_i += d * d
        weight += rows[j] * n
        first += rows[j] * s
        second += rows[j] * q
        weight_i += rows[j] * n_i
        first_i += rows[j] * s_i
        second_i += rows[j] * q_i
    return (weight, first, second), (weight_i, first_i, second_i)


_add_field: Callable[..., tuple[tuple[float, float, float], tuple[float, float, float]]] = numba.njit(nogil=True)(
    _field_sums
)
"""Compiled: NumPy would go over the memory eight times, in float64."""
