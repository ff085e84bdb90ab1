"""Units of foreign stores: the linear step from their label to the file units of `channels`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fuxi_ens.channels import STATIC_LAND_SEA_MASK, STATIC_OROGRAPHY, SURFACE, UPPER_AIR

STANDARD_GRAVITY: Final = 9.80665
"""m s-2; a geopotential meter is so much geopotential by definition."""

_GEOPOTENTIAL: Final = "m**2 s**-2"
FILE_UNITS: Final = MappingProxyType(
    {variable.name: variable.file_units for variable in (*UPPER_AIR, *SURFACE)}
    | {variable.file_name: variable.file_units for variable in SURFACE}
    | {STATIC_OROGRAPHY: _GEOPOTENTIAL, STATIC_LAND_SEA_MASK: "1"}
)
"""File units by the name on disk."""

_CONVERSIONS: Final[Mapping[str, Mapping[tuple[float, float], tuple[str, ...]]]] = MappingProxyType(
    {
        _GEOPOTENTIAL: {
            (STANDARD_GRAVITY, 0.0): ("gpm", "m", "meter", "meters", "metre", "metres", "geopotential meters"),
            (10 * STANDARD_GRAVITY, 0.0): ("gpdm", "dam", "dagpm"),
        },
        "K": {(1.0, 273.15): ("degc", "deg_c", "c", "celsius", "degree_celsius", "degrees_celsius", "°c")},
        "Pa": {(100.0, 0.0): ("hpa", "mb", "mbar", "millibar", "millibars", "hectopascal", "hectopascals")},
        "m": {(1e-3, 0.0): ("mm", "kg m-2", "kg/m2", "millimeter", "millimeters", "millimetre", "millimetres")},
        "kg kg**-1": {(1e-3, 0.0): ("g kg-1", "g/kg")},
        "J m**-2": {
            (3600.0, 0.0): ("w h m-2", "wh m-2", "wh/m2"),
            (1e3, 0.0): ("kj m-2", "kj/m2"),
            (1e6, 0.0): ("mj m-2", "mj/m2"),
        },
        "m s**-1": {(1852.0 / 3600.0, 0.0): ("kt", "kts", "knot", "knots"), (1.0 / 3.6, 0.0): ("km h-1", "km/h")},
        "1": {(0.01, 0.0): ("%", "percent")},
    }
)


def conversion(name: str, units: str | None) -> tuple[float, float]:
    """Factor and offset from the unit that a store states to the file units of variable `name`.

    A label that is absent or unknown changes nothing: whether the numbers are plausible is judged by the audit.
    """
    if name not in FILE_UNITS or units is None:
        return 1.0, 0.0
    spelled = " ".join(str(units).lower().replace("**", "").replace("^", "").split())
    for step, spellings in _CONVERSIONS[FILE_UNITS[name]].items():
        if spelled in spellings:
            return step
    return 1.0, 0.0
