"""Model fields on the Gaussian grid to WeatherBench variables on the 64x32 grid."""

from collections.abc import Mapping

import jax
import numpy as np
import xarray as xr
from dinosaur.horizontal_interpolation import ConservativeRegridder
from dinosaur.spherical_harmonic import Grid

from fuxi_ens.nature import boundary, layout, levels
from fuxi_ens.nature.model import NatureModel

# A cell with more land than this has no sea surface temperature.
LARGEST_LAND_FRACTION = 0.5


class Converter:
    """Vertical interpolation, then first-order conservative regridding, as in WeatherBench 2."""

    def __init__(self, model: NatureModel, pressure_levels: tuple[int, ...]) -> None:
        """Prepare for one model; `pressure_levels` in hPa."""
        source = model.model.coords.horizontal
        target = Grid(longitude_nodes=64, latitude_nodes=32, latitude_spacing="equiangular")
        assert np.allclose(np.rad2deg(target.latitudes), layout.LATITUDES, atol=1e-4)
        assert np.allclose(np.rad2deg(target.longitudes), layout.LONGITUDES, atol=1e-4)
        self._regridder = ConservativeRegridder(source, target, skipna=True)
        self.pressure_levels = pressure_levels
        self.sigma = model.sigma
        self.surface_geopotential = _surface_geopotential(model)
        self.land_fraction = np.asarray(model.model.terrain.fmask)

    def regrid(self, field: np.ndarray) -> np.ndarray:
        """Average (..., longitude, latitude) over the cells of the 64x32 grid, skipping NaN."""
        return np.asarray(self._regridder(np.asarray(field, dtype=np.float32)))

    def atmosphere(self, fields: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
        """Return upper-air and near-surface variables (units: `layout.ATTRIBUTES`).

        Args:
            fields: what `NatureModel.advance` returns, with a leading axis of times.
        """
        f = {name: np.asarray(values, dtype=np.float64) for name, values in fields.items()}
        virtual = levels.virtual_temperature(f["temperature"], f["humidity"])
        at = levels.PressureLevels(self.sigma, f["surface_pressure"], self.pressure_levels)
        sea_level = levels.mean_sea_level_pressure(
            f["surface_pressure"],
            self.surface_geopotential,
            virtual[..., -1, :, :],
            self.sigma[-1],
        )
        gaussian = {
            "geopotential": at.geopotential(f["geopotential"], virtual),
            "temperature": at.temperature(f["temperature"]),
            "u_component_of_wind": at.linear(f["u"]),
            "v_component_of_wind": at.linear(f["v"]),
            "specific_humidity": at.linear(np.maximum(f["humidity"], 0.0)),
            "2m_temperature": f["t2m"],
            "mean_sea_level_pressure": sea_level,
            "10m_u_component_of_wind": f["u10"],
            "10m_v_component_of_wind": f["v10"],
            "total_precipitation_6hr": np.maximum(f["rain"], 0.0),
        }
        return {name: self.regrid(values) for name, values in gaussian.items()}

    def static(self) -> dict[str, np.ndarray]:
        """Return the land fraction (0-1) and the surface geopotential (m2 s-2)."""
        return {
            "land_sea_mask": self.regrid(self.land_fraction),
            "geopotential_at_surface": self.regrid(self.surface_geopotential),
        }

    def sea_surface_temperature(self) -> xr.DataArray:
        """Return the prescribed monthly SST, K, NaN where land is more than half of a cell.

        The model sees it interpolated linearly in time, so `.interp(time=...)` gives its values.
        """
        monthly = boundary.monthly_surface()["sst"].transpose("time", "lon", "lat")
        sea = self.land_fraction < LARGEST_LAND_FRACTION
        averaged = self.regrid(np.where(sea, monthly.values, np.nan))
        mostly_land = self.regrid(self.land_fraction) >= LARGEST_LAND_FRACTION
        return xr.DataArray(
            np.where(mostly_land, np.nan, averaged),
            dims=("time", "longitude", "latitude"),
            coords={"time": monthly["time"].values},
        )


def _surface_geopotential(model: NatureModel) -> np.ndarray:
    """Return the geopotential of the dynamical core's ground, m2 s-2, on the Gaussian grid.

    It is taken from the state of rest: jcm's `terrain.phis0` is truncated in another way, and
    differs from what the core uses by up to 1.6 km of height.
    """
    rest = model.model.dycore.to_physics_state(model.rest().dynamics)
    virtual = levels.virtual_temperature(
        np.asarray(rest.temperature[-1], np.float64), np.asarray(rest.specific_humidity[-1])
    )
    layer: np.ndarray = levels.GAS_CONSTANT_DRY * virtual * np.log(1.0 / model.sigma[-1])
    lowest: np.ndarray = np.asarray(rest.geopotential[-1], np.float64)
    ground: np.ndarray = lowest - layer
    return ground
