"""Boundary data packaged inside jcm: terrain, monthly surface climatology, observed SST anomalies.

All files are on the T30 Gaussian grid (96 longitudes x 48 latitudes, latitude ascending).
"""

from importlib import resources
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import xarray as xr
from dinosaur.coordinate_systems import CoordinateSystem
from jcm.forcing import ForcingData
from jcm.terrain import TerrainData

from fuxi_ens.errors import UserError

FREEZING_SEA_WATER_K = 271.2
WARMEST_SEA_K = 310.0
# Anomalies beyond this are fill values over land and multi-year ice, not observations.
LARGEST_ANOMALY_K = 15.0


def boundary_directory() -> Path:
    """Return the folder of T30 boundary files inside the installed jcm.

    Raises:
        FileNotFoundError: if this jcm release keeps its boundary data elsewhere.
    """
    directory = Path(str(resources.files("jcm"))) / "data" / "bc" / "t30"
    for name in ("clim/terrain.nc", "clim/forcing.nc", "anom/sea_surface_temperature_anomaly.nc"):
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f"jcm has no boundary file {directory / name}: this package was written for "
                "jcm 3.0.0; install the extra with `pip install 'fuxi-ens[nature-run]'`"
            )
    return directory


def monthly_surface() -> xr.Dataset:
    """Return monthly surface fields: climatology plus observed SST anomalies, 1979-2013.

    Returns:
        Dataset on (lon, lat, time) with `sst`, `stl` (K), `icec` (0-1), `soilw_am` (0-1), `snowc`
        (kg m-2) and the static `alb` (0-1). Times are mid-month; anomalies apply to open water.
    """
    directory = boundary_directory()
    climatology = xr.load_dataset(directory / "clim/forcing.nc").drop_vars("lev", errors="ignore")
    anomaly = xr.load_dataset(directory / "anom/sea_surface_temperature_anomaly.nc")["ssta"]
    anomaly = anomaly.sortby("lat").transpose("lon", "lat", "time")
    if not np.allclose(anomaly["lat"], climatology["lat"], atol=1e-3):
        raise UserError("the latitudes of jcm's SST anomalies and climatology disagree")
    month = anomaly["time"].dt.month.values - 1
    middle = anomaly["time"].values + np.timedelta64(14, "D")
    surface = climatology.drop_vars("alb").isel(time=month).assign_coords(time=middle)
    observed = anomaly.where(np.abs(anomaly) < LARGEST_ANOMALY_K, 0.0).values
    open_water = surface["icec"] < 0.5
    warm = surface["sst"] + open_water * observed
    surface["sst"] = warm.clip(FREEZING_SEA_WATER_K, WARMEST_SEA_K)
    surface["alb"] = climatology["alb"]
    return surface.transpose("lon", "lat", "time")


def forcing(coords: CoordinateSystem) -> ForcingData:
    """Return the model's forcing: the monthly fields, interpolated linearly between mid-months."""
    return ForcingData.from_dataset(monthly_surface(), coords=coords, align_mode="by_date_interp", persist="strict")


def terrain(coords: CoordinateSystem, damping: float = 1.5) -> TerrainData:
    """Return terrain whose orography spectrum is tapered by exp(-damping (n/N)^4).

    The packaged orography, truncated at T31, rings: -495 m to 5223 m. Tapered it spans -283 m
    to 4693 m, and the ripples over the sea no longer leave a mark on rain and pressure.
    """
    packaged = TerrainData.from_file(str(boundary_directory() / "clim/terrain.nc"), coords=coords)
    horizontal = coords.horizontal
    wavenumber = jnp.asarray(horizontal.modal_axes[1]) / (horizontal.total_wavenumbers - 2)
    taper = jnp.exp(-damping * wavenumber**4)[None, :]
    orography = horizontal.to_nodal(horizontal.to_modal(packaged.orog) * taper)
    return TerrainData.from_coords(coords, orography=orography, fmask=packaged.fmask)
