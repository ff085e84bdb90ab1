"""CRPS beyond climatological quantiles (verification.md 4.7)."""

from collections.abc import Mapping
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
from fuxi_ens.verify.points import point_statistics
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

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Sums [region, quantile_event]; one copy of the ensemble at a time."""
        tails = np.stack([self._tail(block, q) for q in self.quantiles], axis=-1)
        return dict(zip(self.sums, tails, strict=True))

    def _tail(self, block: Block, quantile: float) -> Float:
        """Sums of the fair and the standard CRPS, [2, region]."""
        threshold = climatology_of(block).quantile(quantile)
        clip = np.maximum if is_above(quantile) else np.minimum
        clipped = point_statistics(clip(block.ensemble, threshold), clip(block.truth, threshold))
        return block.regional(clipped.averages()[:2])

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """One score per quantile, of the estimator of the configuration."""
        tails = pooled_mean(by_estimator(data["crps_tail_fair"], data["crps_tail_standard"], data), data["weight"])
        events = tails["quantile_event"].values
        return {f"crps_{event}": tails.sel(quantile_event=event, drop=True) for event in events}
