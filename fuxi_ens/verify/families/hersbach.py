"""Reliability and potential of the standard CRPS (verification.md 8.2)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.hersbach import BIN, decompose
from fuxi_ens.verify.pieces import Piece, bin_sums
from fuxi_ens.verify.pooling import pooled_mean
from fuxi_ens.verify.systems import ENSEMBLES, Role


class HersbachParts(Family):
    """`hersbach_reliability` and `hersbach_potential`, whose sum is the standard CRPS."""

    name = "hersbach"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"hersbach_alpha": (BIN,), "hersbach_beta": (BIN,), "truth_below_members": (), "truth_below_largest": ()}
    )
    # Bins of a varying number of members do not add, and one member has none inside.
    roles: ClassVar[frozenset[Role]] = ENSEMBLES

    def coordinates(self, members: int) -> Mapping[str, NDArray[Any]]:
        """Bins 0 to M."""
        return {BIN: np.arange(members + 1)}

    def row_sums(self, block: Block) -> "BinRows":
        """Of each row."""
        return BinRows(block)

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Lengths [region, bin], and how often the truth is below."""
        alpha, beta = (block.areas.of_rows(part) for part in block.summed(self.name, lambda: BinRows(block)).by_row)
        below, equal = block.points.below, block.points.equal
        outside = block.regional(np.stack([(below + equal == 0), (below + equal < block.members)]).astype(np.float32))
        return dict(zip(self.sums, (alpha, beta, *outside), strict=True))

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Parts of the pooled averages; they are not the averages of the parts of single maps."""
        reliability, potential = decompose(*(pooled_mean(data[name], data["weight"]) for name in cls.sums))
        return {"hersbach_reliability": reliability, "hersbach_potential": potential}


class BinRows:
    """Lengths of the bins between members, summed along each row."""

    def __init__(self, block: Block) -> None:
        self._valid, self._columns = block.valid, block.areas.columns
        self.by_row = np.empty((2, len(self._columns), len(block.truth), block.members + 1))
        """[part, set of columns, latitude, bin]: below the truth, above it"""

    def add(self, piece: Piece) -> None:
        """Sum the members of a piece."""
        width = piece.truth.shape[1]
        bin_sums(piece.ordered, width, self._valid, self._columns, piece.rows, self.by_row)
