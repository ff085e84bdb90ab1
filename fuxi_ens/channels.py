"""The vocabulary of physical quantities: names, levels, units, roles. No other file spells them out.

A *variable* is a physical quantity with its WeatherBench 2 long name (`geopotential`). A *channel* is one 2-D
field of a frame (`z500`). Files are in *file units* (SI as in ERA5 stores), Python works in *model units*
(model.md 1.3: q in g/kg, precipitation in mm, radiation in Wh m-2); `Variable.to_model` is the factor.
"""

import re
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final, Literal

Transform = Literal["none", "log1p"]

ACCUMULATION_HOURS: Final = 6
"""Span of the sums that are stored."""

LEVELS_13: Final = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)


@dataclass(frozen=True, slots=True)
class Variable:
    """A physical quantity, the same on every level."""

    short: str
    """Channel prefix: `z` in `z500`, or the whole channel name of a surface field."""
    name: str
    """WeatherBench 2 long name, as in ERA5 stores."""
    file_units: str
    model_units: str
    to_model: float
    """Value in model units = value in file units * to_model."""
    accumulated: bool = False
    """A sum over the `ACCUMULATION_HOURS` that end at the valid time; stored on disk with the suffix `_6hr`."""
    input: bool = True
    """Accumulations are outputs only: they are zeroed on input (model.md 1.2)."""
    may_be_missing: bool = False
    """Whether points without a value are legal: sea-surface temperature over land."""
    transform: Transform = "none"
    """Applied to model units before standardization; `log1p` for precipitation (model.md 1.4)."""
    aliases: tuple[str, ...] = ()
    """Names under which other archives store it: ECMWF short names, those of CDS NetCDF files and of cfgrib."""
    limits: tuple[float, float] = (-float("inf"), float("inf"))
    """No point of the atmosphere lies outside, model units; wide enough for records, narrow enough for wrong units."""
    mean_limits: tuple[float, float] = (-float("inf"), float("inf"))
    """The area mean of any global field lies inside, model units; catches mm for m, or one hour for a 6 h sum."""

    @property
    def file_name(self) -> str:
        """Name of the array on disk."""
        return f"{self.name}_6hr" if self.accumulated else self.name


@dataclass(frozen=True, slots=True)
class Channel:
    """One 2-D field of a frame."""

    name: str
    variable: Variable
    level: int | None
    """Pressure level in hPa; None for surface fields."""


_J_TO_WH: Final = 1.0 / 3600.0

UPPER_AIR: Final = (
    Variable(
        "z", "geopotential", "m**2 s**-2", "m**2 s**-2", 1.0, aliases=("z", "gh"), limits=(-1e4, 2.3e5)
    ),  # The mean depends on the level: see `data.plausible`.
    Variable("t", "temperature", "K", "K", 1.0, aliases=("t",), limits=(160, 340), mean_limits=(190, 300)),
    Variable("u", "u_component_of_wind", "m s**-1", "m s**-1", 1.0, aliases=("u",), limits=(-160, 180)),
    Variable("v", "v_component_of_wind", "m s**-1", "m s**-1", 1.0, aliases=("v",), limits=(-160, 160)),
    Variable(
        "q", "specific_humidity", "kg kg**-1", "g kg**-1", 1e3,
        aliases=("q",), limits=(-2, 45), mean_limits=(-0.01, 16),
    ),
)  # fmt: skip

SURFACE: Final = (
    Variable(
        "t2m", "2m_temperature", "K", "K", 1.0, aliases=("t2m", "2t"), limits=(170, 340), mean_limits=(270, 300)
    ),
    Variable(
        "d2m", "2m_dewpoint_temperature", "K", "K", 1.0,
        aliases=("d2m", "2d"), limits=(150, 320), mean_limits=(262, 295),
    ),
    Variable(
        "sst", "sea_surface_temperature", "K", "K", 1.0, may_be_missing=True,
        aliases=("sst",), limits=(265, 315), mean_limits=(280, 302),
    ),
    Variable("u10m", "10m_u_component_of_wind", "m s**-1", "m s**-1", 1.0, aliases=("u10", "10u"), limits=(-90, 90)),
    Variable("v10m", "10m_v_component_of_wind", "m s**-1", "m s**-1", 1.0, aliases=("v10", "10v"), limits=(-90, 90)),
    Variable(
        "u100m", "100m_u_component_of_wind", "m s**-1", "m s**-1", 1.0, aliases=("u100", "100u"), limits=(-110, 110)
    ),
    Variable(
        "v100m", "100m_v_component_of_wind", "m s**-1", "m s**-1", 1.0, aliases=("v100", "100v"), limits=(-110, 110)
    ),
    Variable(
        "msl", "mean_sea_level_pressure", "Pa", "Pa", 1.0,
        aliases=("msl", "prmsl"), limits=(8.5e4, 1.1e5), mean_limits=(9.9e4, 1.03e5),
    ),
    Variable(
        "ssr", "surface_net_solar_radiation", "J m**-2", "W h m**-2", _J_TO_WH, True, False,
        aliases=("ssr",), limits=(-10, 7e3), mean_limits=(500, 1600),
    ),
    Variable(
        "ssrd", "surface_solar_radiation_downwards", "J m**-2", "W h m**-2", _J_TO_WH, True, False,
        aliases=("ssrd",), limits=(-10, 8e3), mean_limits=(600, 1900),
    ),
    Variable(
        "fdir", "total_sky_direct_solar_radiation_at_surface", "J m**-2", "W h m**-2", _J_TO_WH, True, False,
        aliases=("fdir",), limits=(-10, 7e3), mean_limits=(250, 1300),
    ),
    Variable(
        "ttr", "top_net_thermal_radiation", "J m**-2", "W h m**-2", _J_TO_WH, True, False,
        aliases=("ttr",), limits=(-3e3, 0), mean_limits=(-1700, -1150),
    ),
    Variable(
        "tp", "total_precipitation", "m", "mm", 1e3, True, False, transform="log1p",
        aliases=("tp",), limits=(-0.1, 1.5e3), mean_limits=(0.3, 1.5),
    ),
)  # fmt: skip

STATIC_OROGRAPHY: Final = "geopotential_at_surface"
STATIC_LAND_SEA_MASK: Final = "land_sea_mask"

CHANNELS_78: Final[tuple[str, ...]] = tuple(
    f"{variable.short}{level}" for variable in UPPER_AIR for level in LEVELS_13
) + tuple(variable.short for variable in SURFACE)
"""The 78 channels of FuXi-ENS in tensor order (model.md 1.2): `z50` ... `q1000`, `t2m` ... `tp`."""

NEAR_GROUND_SPEED: Final = MappingProxyType({"ws10m": ("u10m", "v10m"), "ws100m": ("u100m", "v100m")})
"""Wind speeds at 10 m and 100 m, with the channels they are made of."""

DERIVED_SPEED: Final = MappingProxyType(
    {**NEAR_GROUND_SPEED, **{f"ws{level}": (f"u{level}", f"v{level}") for level in LEVELS_13}}
)
"""Wind speeds that verification derives per member from two channels: `ws10m`, `ws850`."""

SUMS_24H: Final = MappingProxyType(
    {f"{variable.short}24": variable.short for variable in SURFACE if variable.accumulated}
)
"""Sums over the 24 h that end at the valid time, derived per member from a channel of 6 h sums: `tp24`."""

DRY_MM: Final = MappingProxyType({"tp": 0.1, "tp24": 0.25})
"""Amounts of precipitation up to which the 6 h or 24 h count as dry (WeatherBench 2; Haiden et al. 2012)."""

PRECIPITATION: Final = tuple(DRY_MM)
"""Amounts of precipitation, which have scores of their own: over 6 h, a channel, and over 24 h."""

HEADLINE: Final = ("z500", "t850", "msl", "t2m", "ws10m", "tp")
"""The six variables of the headline scorecard (model.md 5.2: 6 variables x 60 lead times = 360)."""

VARIABLES: Final = MappingProxyType({variable.short: variable for variable in (*UPPER_AIR, *SURFACE)})
"""All variables by the short name that begins their channels' names."""

_UPPER_BY_SHORT: Final = MappingProxyType({variable.short: variable for variable in UPPER_AIR})
_SURFACE_BY_SHORT: Final = MappingProxyType({variable.short: variable for variable in SURFACE})
_UPPER_NAME: Final = re.compile(r"([a-z]+?)([1-9][0-9]*)")


@cache
def channel(name: str) -> Channel:
    """Look a channel up by name. Raises KeyError for a name that is no channel."""
    if name in _SURFACE_BY_SHORT:
        return Channel(name, _SURFACE_BY_SHORT[name], None)
    match = _UPPER_NAME.fullmatch(name)
    if match and match[1] in _UPPER_BY_SHORT and int(match[2]) in LEVELS_13:
        return Channel(name, _UPPER_BY_SHORT[match[1]], int(match[2]))
    raise KeyError(f"{name!r} is no channel; see fuxi_ens.channels.CHANNELS_78")


def is_channel(name: str) -> bool:
    """Whether `name` is one of the 78 channels."""
    return name in CHANNELS_78


def is_scored(name: str) -> bool:
    """Whether `name` can be verified: a channel, a derived wind speed, a sum over 24 h."""
    return is_channel(name) or name in DERIVED_SPEED or name in SUMS_24H


def components(name: str) -> tuple[str, ...]:
    """Channels needed to verify `name`: itself, the two components of a derived wind speed, the parts of a sum."""
    return (SUMS_24H[name],) if name in SUMS_24H else DERIVED_SPEED.get(name, (name,))


def file_units(name: str) -> str:
    """Units on disk of a scored name."""
    return channel(components(name)[0]).variable.file_units


def in_tensor_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort channels into the order of `CHANNELS_78`."""
    return tuple(sorted(names, key=CHANNELS_78.index))


def upper_air_count(names: tuple[str, ...]) -> int:
    """How many of the channels are on pressure levels; they come first in tensor order."""
    return sum(channel(name).level is not None for name in names)
