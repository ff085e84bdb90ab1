"""Spectra of members, ensemble mean and truth (verification.md 11.1)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
import xarray as xr

from fuxi_ens.config import VerifyConfig
from fuxi_ens.grid import Float
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.base import Family
from fuxi_ens.verify.pooling import mean_of_maps
from fuxi_ens.verify.spectra import energies, highest_degree, powers, require_library
from fuxi_ens.verify.systems import ENSEMBLES, Role

_POWER = ("power_members", "power_mean", "power_truth")
_ENERGY = ("energy_members", "energy_mean", "energy_truth")


class Spectra(Family):
    """Curves of power, and of kinetic energy for wind speeds; `small_scale_power` relative to the truth's."""

    name = "spectra"
    sums: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(dict.fromkeys((*_POWER, *_ENERGY), ("degree",)))
    roles: ClassVar[frozenset[Role]] = ENSEMBLES
    regional = False
    needs_components = True

    @classmethod
    def from_config(cls, section: VerifyConfig) -> Self:
        """Raises UserError without the library, before anything is read."""
        require_library()
        return cls()

    def of_block(self, block: Block) -> Mapping[str, Float]:
        """Spectra [degree] of one map; NaN where a field has gaps, and energies but for wind speeds."""
        power = (
            _mean([powers(member) for member in block.ensemble]),
            powers(block.points.error + block.truth),
            powers(block.truth),
        )
        nothing = np.full(highest_degree(*block.truth.shape) + 1, np.nan)
        energy = (nothing,) * 3
        if block.components:
            u, v = block.components
            pairs = zip(u.ensemble, v.ensemble, strict=True)
            energy = (
                _mean([energies(*pair) for pair in pairs]),
                energies(u.points.error + u.truth, v.points.error + v.truth),
                energies(u.truth, v.truth),
            )
        return dict(zip((*_POWER, *_ENERGY), (*power, *energy), strict=True))

    @classmethod
    def scores(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """Power of the members over that of the truth, degrees above half the highest, in the row of the globe."""
        if "global" not in data["region"].values:
            return {}
        members, truth = (_pooled(data, name) for name in ("power_members", "power_truth"))
        small = members["degree"] > members["degree"].max() / 2
        ratio = members.where(small).sum("degree") / truth.where(small).sum("degree")
        # Fields with gaps have no spectrum, so no row.
        ratio = ratio.sel(name=truth.notnull().all("degree").any("lead_time"))
        return {"small_scale_power": ratio.expand_dims(region=["global"])}

    @classmethod
    def curves(cls, data: xr.Dataset) -> Mapping[str, xr.DataArray]:
        """All spectra, averaged over init times."""
        return {name: _pooled(data, name) for name in cls.sums}


def _mean(spectra: list[Float]) -> Float:
    result: Float = np.mean(spectra, axis=0)
    return result


def _pooled(data: xr.Dataset, name: str) -> xr.DataArray:
    spectrum = mean_of_maps(data[name], data["weight"].max("region"))
    return spectrum.assign_coords(degree=np.arange(spectrum.sizes["degree"]))
