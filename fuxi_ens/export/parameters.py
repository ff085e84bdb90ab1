"""What NetCDF and GRIB call our variables, and how precisely GRIB keeps them.

The rows follow `channels.UPPER_AIR` and `channels.SURFACE`, where the variables themselves are spelled out.
"""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fuxi_ens.channels import SURFACE, UPPER_AIR, Variable

_HEIGHT: Final = re.compile(r"(\d+)m_")
_FLUX: Final = "integral_wrt_time_of_surface_"


@dataclass(frozen=True, slots=True)
class Parameter:
    """Names of a variable in the two formats."""

    param_id: int
    """Of ECMWF's parameter database, in the edition that WMO's own GRIB2 tables hold."""
    resolution: float
    """Step of the packed numbers in GRIB units; the error is at most half of it. 0: relative to the largest value."""
    standard_name: str | None = ""
    """Of the CF table; empty where it is our long name, None where the table has none."""
    to_grib: float = 1.0
    """Value in GRIB units = value in file units * to_grib."""
    grib_units: str = ""
    """Empty where they are the file units."""


_ROWS: Final = (
    # Geopotential to 5 cm of height.
    Parameter(129, 1.0),
    Parameter(130, 0.01, "air_temperature"),
    Parameter(131, 0.01, "eastward_wind"),
    Parameter(132, 0.01, "northward_wind"),
    # Humidity falls by four orders of magnitude with height.
    Parameter(133, 0.0),
    # Temperatures at 2 m and of the sea.
    Parameter(167, 0.01, "air_temperature"),
    Parameter(168, 0.01, "dew_point_temperature"),
    Parameter(34, 0.01),
    # Winds at 10 m and at 100 m; of the latter WMO's tables know the level, not a parameter of their own.
    Parameter(165, 0.01, "eastward_wind"),
    Parameter(166, 0.01, "northward_wind"),
    Parameter(131, 0.01, "eastward_wind"),
    Parameter(132, 0.01, "northward_wind"),
    Parameter(151, 1.0, "air_pressure_at_mean_sea_level"),
    # Radiation to a thousandth of an hour of bright sun.
    Parameter(176, 1e3, f"{_FLUX}net_downward_shortwave_flux"),
    Parameter(169, 1e3, f"{_FLUX}downwelling_shortwave_flux_in_air"),
    Parameter(228021, 1e3, f"{_FLUX}direct_downwelling_shortwave_flux_in_air"),
    Parameter(179, 1e3, None),
    # Precipitation: meters of water in NetCDF, as the store has it; WMO's GRIB2 parameter is in kg m-2.
    Parameter(228228, 0.01, "lwe_thickness_of_precipitation_amount", 1e3, "kg m**-2"),
)

PARAMETERS: Final = MappingProxyType(
    {variable.short: row for variable, row in zip((*UPPER_AIR, *SURFACE), _ROWS, strict=True)}
)
"""By `Variable.short`."""

SMALLEST_SHARE: Final = 2.0**-15
"""Step of a variable without a resolution of its own, as a share of the largest value of the field."""


def netcdf_name(variable: Variable) -> str:
    """ECMWF's name in NetCDF files, with the suffix `_6hr` for accumulations, which archives define differently."""
    return f"{variable.aliases[0]}_6hr" if variable.accumulated else variable.aliases[0]


def height_of(variable: Variable) -> int | None:
    """Meters above the ground at which the variable is taken, where its name says so."""
    match = _HEIGHT.match(variable.name)
    return int(match[1]) if match else None
