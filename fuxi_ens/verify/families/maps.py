"""Maps of the CRPS, init time by init time, for differences of systems with their significance (verification.md 16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.config import ALMOST_FAIR_ALPHA, VerifyConfig
from fuxi_ens.grid import Float
from fuxi_ens.times import hours
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.boxes import Boxes
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.points import Field, Points
from fuxi_ens.verify.systems import ENSEMBLES, Role

CRPS_MAP: Final = "map_crps"
LEAD: Final = "map_lead_time"
ROWS: Final = "map_latitude"
COLUMNS: Final = "map_longitude"


@dataclass(frozen=True)
class Maps(Family):
    """The CRPS of the configured estimator averaged over boxes, float32, for a few lead times.

    An average over boxes is linear like all sums; init times stay apart because only their series can be tested.
    """

    lead_hours: tuple[int, ...]
    degrees: float
    estimator: str

    name = "maps"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({CRPS_MAP: (ROWS, COLUMNS)})
    roles: ClassVar[frozenset[Role]] = ENSEMBLES
    regional = False
    lead_dimension = LEAD
    on_demand = True

    @classmethod
    def from_config(cls, section: VerifyConfig) -> Self:
        """Lead times, spacing and estimator of the config."""
        return cls(section.map_lead_hours, section.map_degrees, section.estimator)

    def places(self, areas: Areas) -> Mapping[str, NDArray[Any]]:
        """Middles of the boxes."""
        boxes = _boxes(areas, self.degrees)
        return {ROWS: boxes.latitude, COLUMNS: boxes.longitude}

    def holds(self, lead_time: np.timedelta64) -> bool:
        """The lead times of the config."""
        return any(lead_time == hours(count) for count in self.lead_hours)

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """One map, NaN where a box has no truth."""
        crps = _crps(block.points, self.estimator)
        return {CRPS_MAP: _boxes(block.areas, self.degrees).means(crps, block.valid)}  # type: ignore[dict-item]


def _crps(points: Points, estimator: str) -> Field:
    """The estimator's CRPS per point; the standard one of a single member."""
    if points.members == 1:
        return points.absolute_error
    standard = 1 - 1 / points.members
    weight = {"standard": standard, "fair": 1.0}.get(estimator, ALMOST_FAIR_ALPHA + (1 - ALMOST_FAIR_ALPHA) * standard)
    return points.absolute_error - np.float32(weight) * points.difference


def _boxes(areas: Areas, degrees: float) -> Boxes:
    return Boxes.of(areas.latitude, areas.longitude, degrees)
