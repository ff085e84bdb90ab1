"""Rank histograms."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.systems import Role


class Ranks(Family):
    """Weighted counts of the truth's rank 0..M; e ties share a count over e + 1 ranks (verification.md 8)."""

    name = "ranks"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({"rank_counts": ("rank",)})
    # The members of a climatology vary in number, and persistence has one.
    roles: ClassVar[frozenset[Role]] = frozenset({"forecast", "baseline"})

    def coordinates(self, members: int) -> Mapping[str, NDArray[Any]]:
        """Ranks 0 to M."""
        return {"rank": np.arange(members + 1)}

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Histograms [region, rank]."""
        points = block.points
        return {"rank_counts": block.areas.rank_counts(points.below, points.equal, block.valid, block.members)}
