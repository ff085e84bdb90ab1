"""What a family of scores is.

To add one:

1. Write a module beside this one with a subclass of `Family`: `sums` names what is kept and its dimensions beyond
   (name, lead_time, region); `of_block` computes it for one field of an ensemble; `scores` makes scores of the sums.
   Only what adds may be kept (verification.md 15): no root, no ratio, no quantile. Per-point values become regional
   sums with `block.regional`; what only needs ranks or CRPS terms takes them from `block.points`, which is computed
   once for all families; what needs members beyond a threshold or in order sums them along rows (`row_sums`), in the
   same pass.
2. Add the class to `FAMILIES` in `fuxi_ens/verify/families/__init__.py` and its name to `FamilyName` in
   `fuxi_ens/config/fields.py`. Settings (thresholds, bins) go into `VerifyConfig`; `from_config` picks them up.
3. Test it against an oracle, define it in docs/verification.md.

Families of the default of `verify.scores` are computed for everybody: only what is cheap and always wanted.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.config import VerifyConfig
from fuxi_ens.grid import Float
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.block import Block, ClimatologyAt
from fuxi_ens.verify.pieces import RowSums
from fuxi_ens.verify.systems import ROLES, Role


class Family(ABC):
    """Scores that share sums. Instances hold settings only; threads and processes share them."""

    name: ClassVar[str]
    """In `verify.scores`."""
    sums: ClassVar[Mapping[str, tuple[str, ...]]]
    """Names of the sums, unique over all families, and their dimensions after (name, lead_time, region)."""
    roles: ClassVar[frozenset[Role]] = ROLES
    """Systems it is computed for."""
    regional: ClassVar[bool] = True
    """Whether the sums have a region; those of whole maps, like spectra, have none and are plain values per map."""
    lead_dimension: ClassVar[str] = "lead_time"
    """Of its sums: a name of its own for a family that `holds` some lead times only."""
    on_demand: ClassVar[bool] = False
    """Whether its sums are so large that `files.read_statistics` leaves them in the files."""
    needs_climatology: ClassVar[bool] = False
    """Whether `block.climatology` must be there, the climatology by day of the year at the valid time."""
    needs_components: ClassVar[bool] = False
    """Whether `block.components` must be there for wind speeds."""

    @classmethod
    def from_config(cls, section: VerifyConfig) -> Self:
        """With the settings of the config; one without settings has none to take."""
        return cls()

    def coordinates(self, members: int) -> Mapping[str, NDArray[Any]]:
        """Labels along each further dimension of `sums`, equal for all blocks of a system and init_time."""
        return MappingProxyType({})

    def places(self, areas: Areas) -> Mapping[str, NDArray[Any]]:
        """Labels along further dimensions that lie on the globe."""
        return MappingProxyType({})

    def holds(self, lead_time: np.timedelta64) -> bool:
        """Whether sums of this lead time are kept; only then `of_block` is asked."""
        return True

    def announce(self, block: Block) -> None:
        """Put what it sums along rows into `block.row_sums`, under its name, before the ensemble is passed over."""
        if (sums := self.row_sums(block)) is not None:
            block.row_sums[self.name] = sums

    def row_sums(self, block: Block) -> RowSums | None:
        """Empty sums for one block; None for a family that sums nothing of members along rows."""
        return None

    @abstractmethod
    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Weighted sums of one block, float64, [region, *further dimensions] for each of `sums`.

        Points without truth have weight 0. The sum of the weights is kept beside all families, as `weight`.
        """

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Scores [name, lead_time, region] for the scorecard, by their name there; none by default.

        `data` has the `sums`, [init_time, name, lead_time, region, ...], with `weight` and `members`, NaN outside of
        the pairs that all systems share; averages over init_time are those of `pooling.pooled_mean`. Pictures take
        sums with further dimensions from the statistics themselves. Scores that some names do not have leave these
        names out.
        """
        return MappingProxyType({})

    @classmethod
    def curves(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Scores with further dimensions, [name, lead_time, region, ...], for `curves.nc`; none by default."""
        return MappingProxyType({})


def climatology_of(block: Block) -> ClimatologyAt:
    """The climatology of a block. Raises ValueError if it came without, which `needs_climatology` asks for."""
    if block.climatology is None:
        raise ValueError(f"{block.name} came without climatology; give the Scorer one (run.open_climate)")
    return block.climatology
