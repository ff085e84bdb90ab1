"""What families of scores are computed from: one field of an ensemble and its truth."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.grid import Float
from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.pieces import RowSums
from fuxi_ens.verify.points import Field, Points, counts_above, point_statistics

Sums = TypeVar("Sums", bound=RowSums)


class ClimatologyAt(Protocol):
    """The climatology by day of the year of one scored name at one valid time; fields in file units."""

    def mean(self) -> Field:
        """Mean, [latitude, longitude]."""

    def std(self) -> Field:
        """Standard deviation, [latitude, longitude]."""

    def quantile(self, q: float) -> Field:
        """Quantile, [latitude, longitude]. Raises StoreError unless this very one is stored."""

    def heavy_amount(self) -> Field:
        """Amount of precipitation from which a case is heavy, [latitude, longitude]; NaN where no case is wet."""

    def dry_fraction(self) -> Field:
        """Share of dry cases of the year, [latitude, longitude]."""


@dataclass(frozen=True)
class Block:
    """All members of one scored name at one (init_time, lead_time), with the truth, in file units."""

    name: str
    """z500, tp, ws10m"""
    init_time: np.datetime64
    lead_time: np.timedelta64
    ensemble: Field
    """[number, latitude, longitude], finite where the truth exists"""
    truth: Field
    """[latitude, longitude], NaN where there is none"""
    areas: Areas
    climatology: ClimatologyAt | None = None
    """None unless a family needs it"""
    components: "tuple[Block, Block] | None" = None
    """The eastward and northward wind of a wind speed; None for other names, and unless a family needs it"""
    memory: Scratch = field(default_factory=Scratch, compare=False, repr=False)
    """Of `points`, which hold until it is used again"""
    row_sums: dict[str, RowSums] = field(default_factory=dict, compare=False, repr=False)
    """What families sum along rows, by their name; those that are here before `points` come from the same pass"""

    @property
    def valid_time(self) -> np.datetime64:
        """When the truth holds."""
        return self.init_time + self.lead_time

    @property
    def members(self) -> int:
        """Ensemble size M."""
        return len(self.ensemble)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Points with a truth, [latitude, longitude]."""
        return ~np.isnan(self.truth)

    @cached_property
    def points(self) -> Points:
        """What one pass over the ensemble gives; computed when first asked for, shared by all families."""
        return point_statistics(self.ensemble, self.truth, self.memory, tuple(self.row_sums.values()))

    def summed(self, name: str, make: Callable[[], Sums]) -> Sums:
        """The row sums of a family; what was not announced takes a pass of its own."""
        if name not in self.row_sums:
            fresh = make()
            point_statistics(self.ensemble, self.truth, row_sums=(fresh,))
            self.row_sums[name] = fresh
        elif "points" not in self.__dict__:
            _ = self.points
        return cast("Sums", self.row_sums[name])

    @cached_property
    def weight(self) -> Float:
        """sum(w) over the valid points, [region]."""
        return self.areas.weight(self.valid)

    def regional(self, points: NDArray[np.floating]) -> Float:
        """sum(w * points) over the valid points, [..., region] of `points` [..., latitude, longitude]."""
        return self.areas.sums(points, self.valid)

    def counts_above(self, thresholds: NDArray[np.floating]) -> NDArray[np.int32]:
        """Members strictly above each of `thresholds` [threshold, latitude, longitude], same dimensions.

        A threshold that is NaN is exceeded by none: take such points out with a mask.
        """
        return counts_above(self.ensemble, thresholds)
