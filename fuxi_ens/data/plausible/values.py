"""Are the numbers of each channel, and the order of the levels, those of the atmosphere? Finds wrong units."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.channels import NEAR_GROUND_SPEED, Channel, channel
from fuxi_ens.data.plausible.finding import Finding, Scene, area_mean
from fuxi_ens.stores.units import STANDARD_GRAVITY

_KNOT: Final = 1852.0 / 3600.0

_RADIATION: Final = (
    (6.0, 0.0, "one hour, not a 6 h sum"),
    (21600.0, 0.0, "a flux in W m-2, not a sum in J m-2"),
    (3600.0, 0.0, "W h m-2, not J m-2"),
    (0.25, 0.0, "a 24 h sum, not a 6 h sum"),
    (1e3, 0.0, "kJ m-2, not J m-2"),
    (1e6, 0.0, "MJ m-2, not J m-2"),
)
MISTAKES: Final = MappingProxyType(
    {
        "m**2 s**-2": (
            (STANDARD_GRAVITY, 0.0, "geopotential meters (gpm), not m2 s-2"),
            (10 * STANDARD_GRAVITY, 0.0, "geopotential decameters (gpdm), not m2 s-2"),
            (1 / STANDARD_GRAVITY, 0.0, "multiplied by gravity twice"),
        ),
        "K": (
            (1.0, 273.15, "degrees Celsius, not K"),
            (5 / 9, 459.67 * 5 / 9, "degrees Fahrenheit, not K"),
        ),
        "m s**-1": (
            (_KNOT, 0.0, "knots, not m s-1"),
            (1 / 3.6, 0.0, "km h-1, not m s-1"),
            (0.01, 0.0, "cm s-1, not m s-1"),
        ),
        "g kg**-1": (
            (1e-3, 0.0, "g/kg, not kg/kg"),
            (1e3, 0.0, "kg/kg that were labeled g/kg"),
        ),
        "Pa": ((1e2, 0.0, "hPa, not Pa"), (1e3, 0.0, "kPa, not Pa")),
        "mm": (
            (1e-3, 0.0, "mm, not m"),
            (6.0, 0.0, "one hour, not a 6 h sum"),
            (6e-3, 0.0, "one hour in mm, not a 6 h sum in m"),
            (0.25, 0.0, "a 24 h sum, not a 6 h sum"),
            (21.6, 0.0, "a rate in kg m-2 s-1, not a 6 h sum in m"),
            (21600.0, 0.0, "a rate in m s-1, not a 6 h sum in m"),
        ),
        "W h m**-2": (
            *_RADIATION,
            (-1.0, 0.0, "the opposite direction counted positive"),
            *(
                (-factor, 0.0, f"{words}, with the opposite direction counted positive")
                for factor, _, words in _RADIATION
            ),
        ),
    }
)
"""By model units: number * factor + offset would be right if the store were in the unit that the words name."""

_LARGEST_RMS: Final = MappingProxyType(
    dict(zip(itertools.chain(*NEAR_GROUND_SPEED.values()), (8.8, 7.5, 11.5, 10.0), strict=True))
)
"""m s-1 over the globe, of u and v at 10 m and 100 m. At 10 m GFS has 5.6 and 4.8, the nature run at most 6.9 and 5.9;
in knots GFS has 10.8 and 9.3."""

_HUMIDITY: Final = MappingProxyType(
    {50: 3.4e-3, 100: 3.0e-3, 150: 6.4e-3, 200: 0.024, 250: 0.07, 300: 0.15, 400: 0.44, 500: 0.98, 600: 1.8, 700: 2.9}
    | {850: 5.6, 925: 7.7, 1000: 8.9}
)
"""Global mean in g/kg: ERA5, 2 January 1959."""
_HUMIDITY_FACTOR: Final = 30.0
"""The nature run is up to 2.4 times as moist; a wrong unit is a factor 1000."""

_TROPOSPHERE_HPA: Final = 250


@dataclass(frozen=True)
class Summary:
    """Numbers that describe one field."""

    low: float
    high: float
    mean: float
    """Area mean, as is `square`."""
    square: float

    def mapped(self, factor: float, offset: float) -> "Summary":
        """The summary of field * factor + offset."""
        ends = sorted((self.low * factor + offset, self.high * factor + offset))
        square = factor**2 * self.square + 2 * factor * offset * self.mean + offset**2
        return Summary(ends[0], ends[1], factor * self.mean + offset, square)


@dataclass(frozen=True)
class _Bounds:
    """Within which a summary is plausible."""

    limits: tuple[float, float]
    mean: tuple[float, float] = (-inf, inf)
    rms: float = inf

    def broken(self, summary: Summary) -> tuple[str, str] | None:
        """What was got and what is expected; None if all is well."""
        low, high = self.limits
        if summary.low < low or summary.high > high:
            return f"{summary.low:.4g} to {summary.high:.4g}", f"between {low:.4g} and {high:.4g}"
        low, high = self.mean
        if not low <= summary.mean <= high:
            return f"mean {summary.mean:.4g}", f"a mean between {low:.4g} and {high:.4g}"
        if summary.square > self.rms**2:
            return f"root mean square {summary.square**0.5:.3g}", f"at most {self.rms:.3g}"
        return None


@dataclass(frozen=True)
class _Judged:
    """A channel, what is expected of it, and what it is."""

    name: str
    bounds: _Bounds
    summary: Summary


def summarize(field: NDArray[np.floating], weights: NDArray[np.float64]) -> Summary:
    """Extremes and area means over the points that have a value; there must be one."""
    return Summary(
        float(np.nanmin(field)),
        float(np.nanmax(field)),
        area_mean(field, weights),
        area_mean(np.square(field, dtype=np.float64), weights),
    )


def values(scene: Scene) -> Iterator[Finding]:
    """Points outside the limits of their variable, and global means that no state of the Earth has."""
    weights = scene.weights()
    judged: dict[str, list[_Judged]] = {}
    for name, field in scene.fields.items():
        item = channel(name)
        bounds = _bounds(item) if scene.globe else _Bounds(item.variable.limits)
        judgement = _Judged(name, bounds, summarize(field, weights))
        if bounds.broken(judgement.summary):
            judged.setdefault(item.variable.short, []).append(judgement)
    for short, wrong in judged.items():
        units = channel(wrong[0].name).variable.model_units
        broken = wrong[0].bounds.broken(wrong[0].summary)
        assert broken, "only what is broken was kept"
        names = tuple(judgement.name for judgement in wrong)
        yield Finding(f"values of {short}", names, f"{broken[0]} {units}", f"{broken[1]} {units}", _cause(units, wrong))


def columns(scene: Scene) -> Iterator[Finding]:
    """Global means against height: geopotential rises, temperature falls as far as the tropopause."""
    if not scene.globe:
        return
    weights = scene.weights()
    for short, highest, rising in (("z", 0, True), ("t", _TROPOSPHERE_HPA, False)):
        items = [channel(name) for name in scene.fields if channel(name).variable.short == short]
        upwards = sorted((c for c in items if (c.level or 0) >= highest), key=lambda c: -(c.level or 0))
        means = [area_mean(scene.fields[c.name], weights) for c in upwards]
        # The means of neighbors differ by 2 K and more, or by 6000 m2 s-2; upside down they differ the other way.
        steps = np.diff(means) if rising else -np.diff(means)
        if len(steps) and np.any(steps < 0):
            names = tuple(c.name for c in upwards)
            order = "rise" if rising else "fall"
            got = " ".join(f"{mean:.5g}" for mean in means)
            yield Finding(
                "order of levels", names, f"means {got} upwards", f"means that {order} with height",
                "the levels are in another order than their labels say",
            )  # fmt: skip


def standard_geopotential(level: float) -> float:
    """Geopotential of a pressure (hPa) in the ICAO standard atmosphere, m2 s-2, as far as 20 km."""
    surface, lapse, gas, tropopause = 288.15, 6.5e-3, 287.05287, 226.32
    exponent = gas * lapse / STANDARD_GRAVITY
    height = surface / lapse * (1.0 - (max(level, tropopause) / 1013.25) ** exponent)
    isothermal = gas * 216.65 / STANDARD_GRAVITY * np.log(tropopause / min(level, tropopause))
    return float(STANDARD_GRAVITY * (height + isothermal))


def _bounds(item: Channel) -> _Bounds:
    variable, level = item.variable, item.level
    bounds = _Bounds(variable.limits, variable.mean_limits, _LARGEST_RMS.get(item.name, inf))
    if variable.short == "z" and level:
        # ERA5, GFS, IFS and the nature run differ by at most 3.1 % (250 hPa), and by 170 m2 s-2 at 1000 hPa.
        standard = standard_geopotential(level)
        return replace(bounds, mean=(0.94 * standard - 500.0, 1.06 * standard + 500.0))
    if variable.short == "q" and level:
        usual = _HUMIDITY[level]
        return replace(bounds, mean=(usual / _HUMIDITY_FACTOR, usual * _HUMIDITY_FACTOR))
    return bounds


def _cause(units: str, wrong: list[_Judged]) -> str:
    """The unit in which all the numbers would be plausible."""
    for factor, offset, words in MISTAKES[units]:
        if all(j.bounds.broken(j.summary.mapped(factor, offset)) is None for j in wrong):
            return f"looks like {words}"
    return "other units, a fill value taken for data, or a damaged chunk"
