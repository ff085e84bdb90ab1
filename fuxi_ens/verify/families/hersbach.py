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
from fuxi_ens.verify.hersbach import BIN, bin_lengths, decompose
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

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Lengths [region, bin], a row of the grid at a time, so that no temporary has the ensemble's size."""
        columns, valid = block.areas.columns, block.valid
        by_row = np.empty((2, len(columns), len(valid), block.members + 1))
        for row, (truth, known) in enumerate(zip(block.truth, valid, strict=True)):
            for part, lengths in enumerate(bin_lengths(block.ensemble[:, row], truth)):
                for position, chosen in enumerate(columns & known):
                    by_row[part, position, row] = np.where(chosen, lengths, 0.0).sum(axis=-1)
        below, equal = block.points.below, block.points.equal
        outside = block.regional(np.stack([(below + equal == 0), (below + equal < block.members)]).astype(np.float32))
        alpha, beta = (block.areas.of_rows(part) for part in by_row)
        return dict(zip(self.sums, (alpha, beta, *outside), strict=True))

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Parts of the pooled averages; they are not the averages of the parts of single maps."""
        reliability, potential = decompose(*(pooled_mean(data[name], data["weight"]) for name in cls.sums))
        return {"hersbach_reliability": reliability, "hersbach_potential": potential}
