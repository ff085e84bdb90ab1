"""CRPS beyond climatological quantiles (verification.md 4.7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.config import VerifyConfig
from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family, climatology_of
from fuxi_ens.verify.families.quantiles import is_above, labels
from fuxi_ens.verify.pieces import Piece, tail_sums
from fuxi_ens.verify.points import Field
from fuxi_ens.verify.pooling import by_estimator, pooled_mean


@dataclass(frozen=True)
class Tails(Family):
    """`crps_above_q90`, `crps_below_q10`, ...: values clipped at the quantile, then the CRPS."""

    quantiles: tuple[float, ...]

    name = "tails"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        dict.fromkeys(("crps_tail_fair", "crps_tail_standard"), ("quantile_event",))
    )
    needs_climatology = True

    @classmethod
    def from_config(cls, section: VerifyConfig) -> Self:
        """The quantiles of `verify.event_quantiles`."""
        return cls(section.event_quantiles)

    def coordinates(self, members: int) -> Mapping[str, NDArray[Any]]:
        """above_q90, below_q10, ..."""
        return {"quantile_event": np.array(labels(self.quantiles))}

    def row_sums(self, block: Block) -> "TailRows":
        """Of each row."""
        climatology = climatology_of(block)
        return TailRows(block, [(climatology.quantile(q), is_above(q)) for q in self.quantiles])

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Sums [region, quantile_event]."""
        by_row = block.summed(self.name, lambda: self.row_sums(block)).by_row
        tails = np.stack([block.areas.of_row_sums(of_event) for of_event in by_row], axis=-1)
        return dict(zip(self.sums, tails, strict=True))

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """One score per quantile, of the estimator of the configuration."""
        tails = pooled_mean(by_estimator(data["crps_tail_fair"], data["crps_tail_standard"], data), data["weight"])
        events = tails["quantile_event"].values
        return {f"crps_{event}": tails.sel(quantile_event=event, drop=True) for event in events}


class TailRows:
    """The fair and the standard CRPS of clipped values, summed along each row."""

    def __init__(self, block: Block, thresholds: Sequence[tuple[Field, bool]]) -> None:
        self._thresholds, self._valid, self._columns = thresholds, block.valid, block.areas.columns
        self.by_row = np.empty((len(thresholds), 2, len(self._columns), len(block.truth)))
        """[threshold, estimator, set of columns, latitude]"""

    def add(self, piece: Piece) -> None:
        """Sum the members of a piece."""
        for (threshold, above), sums in zip(self._thresholds, self.by_row, strict=True):
            tail_sums(piece.ordered, piece.truth, threshold, above, self._valid, self._columns, piece.rows, sums)
