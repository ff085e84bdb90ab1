"""Does the atmosphere lie the right way round? Balance of wind and mass, warm tropics, season, sun.

Geostrophy: f v = dZ/dx and f u = -dZ/dy. Reversing all rows of the globe keeps the second and turns the sign of the
first, because f changes its sign too; reversing the columns does the same. Within one hemisphere reversed rows turn
the sign of the second. Turning the globe by 180 degrees around a pole, or rows and columns together, changes neither:
that is for season, sun and static fields to find.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fuxi_ens.channels import LEVELS_13, NEAR_GROUND_SPEED, SURFACE
from fuxi_ens.data.plausible.finding import Finding, Scene

Field = NDArray[np.float64]

_SURFACE_PRESSURE: Final = next(v.short for v in SURFACE if v.model_units == "Pa")
_NEAR_GROUND: Final = tuple(v.short for v in SURFACE if v.model_units == "K" and not v.may_be_missing)
_SUNLIT: Final = tuple(v.short for v in SURFACE if v.model_units == "W h m**-2" and v.mean_limits[0] > 0)
_TWICE_ROTATION: Final = 2 * 7.2921e-5
_EARTH_RADIUS: Final = 6.371e6
_AIR_DENSITY: Final = 1.2
_BELT: Final = (25.0, 70.0)
"""Degrees from the equator where the wind is nearly geostrophic and rows are still long."""
_SPACING: Final = 1.5
"""Degrees: finer grids are thinned, because the balance holds for large scales."""
_LEAST_POINTS: Final = 30

_REVERSED: Final = -0.3
"""Correlation of wind with geostrophic wind. Nature run: 1460 states between 0.92 and 0.99 on all levels, 0.86 to
0.96 at 10 m; ERA5, GFS, IFS on 13 levels 0.75 (1000 hPa) to 0.99, one hemisphere alone 0.67 to 0.99. Reversed, v is
exactly the same with a minus, and u of one hemisphere -0.64 to -0.98."""
_DIFFERENT: Final = 0.7
"""Correlation after one of the fields is turned that says that the two lie differently. Not turned, at most 0.43."""
_SPEED_RATIO: Final = (0.55, 1.6)
"""Wind over geostrophic wind above the boundary layer. Seen: 0.92 to 1.24 (a 10 degree grid); in knots 1.8 to 2.4."""
_BOUNDARY_LAYER_HPA: Final = 925

_COLDER_TROPICS: Final = -5.0
"""K. Seen: the tropics (30S-30N) are 21 to 38 K warmer than the caps (60-90), from 1000 to 500 hPa."""
_WRONG_SEASON: Final = -3.0
"""K. Seen: the summer half is 1 to 16 K warmer than the winter half in the months that count."""
_SUN_OFF: Final = 60.0
"""Degrees between noon and the middle of the sunlit half; a 6 h sum labeled one step off is 90."""
_LATITUDE: Final = "latitude is reversed in the data, whatever its labels say"
_LONGITUDE: Final = "longitude runs westward in the data, whatever its labels say"


@dataclass(frozen=True)
class _Balance:
    """How the wind of one level fits the mass field."""

    channels: tuple[str, ...]
    component: str
    correlation: float
    ratio: float
    """Root mean square of the wind over that of the geostrophic wind."""
    turned: float
    """The largest correlation, of either sign, with rows or columns of the wind reversed."""


def geostrophy(scene: Scene, when: np.datetime64 | None) -> Iterator[Finding]:
    """Findings on the orientation of rows and columns, and on the unit of the wind."""
    found = list(_balances(scene))
    for component in ("v", "u"):
        mine = [balance for balance in found if balance.component == component]
        against = [balance for balance in mine if balance.correlation < _REVERSED]
        if against:
            cause = _cause_of_reversal(scene, component, when)
            yield _finding("geostrophic balance", against, "0.5 to 1 on Earth", cause)
        askew = [b for b in mine if abs(b.correlation) < 0.5 and abs(b.turned) > _DIFFERENT]
        if askew and scene.globe:
            yield _finding(
                "geostrophic balance", askew, "0.5 to 1 on Earth", "the fields lie in different orientations"
            )
    low, high = _SPEED_RATIO
    fast = [b for b in found if abs(b.correlation) > 0.6 and not low < b.ratio < high and _free(b)]
    if fast:
        names = tuple(dict.fromkeys(b.channels[1] for b in fast))
        ratio = float(np.median([b.ratio for b in fast]))
        yield Finding(
            "wind speed", names, f"{ratio:.2f} times the geostrophic wind", f"{low} to {high} times",
            _cause_of_speed(ratio),
        )  # fmt: skip


def temperature(scene: Scene, when: np.datetime64 | None) -> Iterator[Finding]:
    """Findings on warm poles and on summer in the wrong half of the globe."""
    names = _warm_channels(scene)
    if not scene.globe or not names:
        return
    poles = {n: 0.5 * (scene.band_mean(n, 60, 90) + scene.band_mean(n, -90, -60)) for n in names}
    excess = {n: scene.band_mean(n, -30, 30) - poles[n] for n in names}
    cold = tuple(n for n in names if excess[n] < _COLDER_TROPICS)
    if cold:
        yield Finding(
            "warm tropics", cold, f"tropics {-excess[cold[0]]:.1f} K colder than the polar caps",
            "20 to 40 K warmer", "the rows are shifted, shuffled, or labeled with other latitudes",
        )  # fmt: skip
    contrast = _summer_excess(scene, when)
    if contrast is not None and contrast < _WRONG_SEASON:
        yield Finding(
            "season", names, f"summer hemisphere {-contrast:.1f} K colder than the winter hemisphere",
            "the summer hemisphere warmer", f"{_LATITUDE}, or the dates are wrong",
        )  # fmt: skip


def sun(scene: Scene, when: np.datetime64 | None) -> Iterator[Finding]:
    """Findings on where the sun shines: longitude shifted or reversed, sums labeled with another hour."""
    names = [name for name in _SUNLIT if name in scene.fields]
    rows = np.abs(scene.latitude) < 50.0
    if when is None or not names or not scene.globe:
        return
    # Where points are missing the sums say nothing; the check is for whole fields.
    profile = np.mean(scene.fields[names[0]][rows], axis=0, dtype=np.float64)
    harmonic = np.mean(profile * np.exp(1j * np.deg2rad(scene.longitude)))
    if not np.abs(harmonic) > 0.2 * np.abs(profile.mean()):
        return
    bright = np.rad2deg(np.angle(harmonic)) % 360.0
    # The middle of the 6 h that end at the valid time is 3 h before it (verification.md 12).
    hour = (when - when.astype("datetime64[D]")) / np.timedelta64(1, "h") - 3.0
    noon = (180.0 - 15.0 * hour) % 360.0
    off = (bright - noon + 180.0) % 360.0 - 180.0
    if abs(off) > _SUN_OFF:
        yield Finding(
            "sun", tuple(names), f"the sunlit half around {bright:.0f} E", f"around {noon:.0f} E at that hour",
            f"the sums do not end at the valid time ({-off / 15.0:+.0f} h), or longitude is shifted or reversed",
        )  # fmt: skip


def _balances(scene: Scene) -> Iterator[_Balance]:
    rows = np.abs(scene.latitude)
    belt = (rows >= _BELT[0]) & (rows <= _BELT[1])
    # Derivatives look at neighbors, so that rows are chosen after them.
    if belt.sum() * len(scene.longitude) < _LEAST_POINTS or len(scene.latitude) < 3 or len(scene.longitude) < 3:
        return
    thin_rows, thin_columns = (
        max(1, int(_SPACING / max(abs(axis[1] - axis[0]), 1e-6))) for axis in (scene.latitude, scene.longitude)
    )
    latitude, longitude = scene.latitude[::thin_rows], scene.longitude[::thin_columns]
    if len(latitude) < 3 or len(longitude) < 3:
        return
    pairs = [(f"z{level}", f"u{level}", f"v{level}", 1.0) for level in LEVELS_13]
    near_ground = [(_SURFACE_PRESSURE, u, v, _AIR_DENSITY) for u, v in NEAR_GROUND_SPEED.values()]
    for mass, u, v, density in (*pairs, *near_ground):
        if mass not in scene.fields:
            continue
        potential = scene.fields[mass][::thin_rows, ::thin_columns].astype(np.float64) / density
        geostrophic = _geostrophic_wind(potential, latitude, longitude, scene.around)
        for name, component, wind in ((v, "v", geostrophic[1]), (u, "u", geostrophic[0])):
            if name in scene.fields:
                field = scene.fields[name][::thin_rows, ::thin_columns].astype(np.float64)
                yield _compare((mass, name), component, field, wind, latitude)


def _geostrophic_wind(potential: Field, latitude: Field, longitude: Field, around: bool) -> tuple[Field, Field]:
    """Eastward and northward component, [latitude, longitude]; large where f is small."""
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    if around:
        padded = np.concatenate([potential[:, -1:], potential, potential[:, :1]], axis=1)
        eastward = (padded[:, 2:] - padded[:, :-2]) / (2 * 2 * np.pi / len(lam))
    else:
        eastward = np.gradient(potential, lam, axis=1)
    northward = np.gradient(potential, phi, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (_TWICE_ROTATION * np.sin(phi))[:, None]
        return -northward / (_EARTH_RADIUS * f), eastward / (_EARTH_RADIUS * np.cos(phi)[:, None] * f)


def _compare(names: tuple[str, str], component: str, wind: Field, geostrophic: Field, latitude: Field) -> _Balance:
    belt = (np.abs(latitude) >= _BELT[0]) & (np.abs(latitude) <= _BELT[1])
    weights = np.broadcast_to(np.cos(np.deg2rad(latitude))[:, None], wind.shape)[belt]
    correlation, ratio = _correlation(wind[belt], geostrophic[belt], weights)
    turned = [_correlation(flipped[belt], geostrophic[belt], weights)[0] for flipped in (wind[::-1], wind[:, ::-1])]
    return _Balance(names, component, correlation, ratio, max(turned, key=abs))


def _correlation(a: Field, b: Field, weights: Field) -> tuple[float, float]:
    """Correlation about zero, and the ratio of root mean squares; 0 and 1 where nothing can be said.

    About zero, because the westerlies themselves are evidence.
    """
    there = np.isfinite(a) & np.isfinite(b)
    if there.sum() < _LEAST_POINTS:
        return 0.0, 1.0
    a, b, weights = a[there], b[there], weights[there]
    aa, bb = float(np.sum(a * a * weights)), float(np.sum(b * b * weights))
    if not (aa > 0 and bb > 0):
        return 0.0, 1.0
    return float(np.sum(a * b * weights)) / (aa * bb) ** 0.5, (aa / bb) ** 0.5


def _finding(check: str, balances: list[_Balance], expected: str, cause: str) -> Finding:
    correlations = [b.correlation for b in balances]
    names = tuple(dict.fromkeys(name for b in balances for name in b.channels))
    got = f"correlation {min(correlations):.2f} to {max(correlations):.2f} of {balances[0].component} with its balance"
    return Finding(check, names, got, expected, cause)


def _cause_of_reversal(scene: Scene, component: str, when: np.datetime64 | None) -> str:
    one_hemisphere = bool(np.all(scene.latitude > 0) or np.all(scene.latitude < 0))
    if component == "u":
        return _LATITUDE if one_hemisphere else "u or the mass field has the wrong sign"
    if one_hemisphere:
        return f"{_LONGITUDE}, or v has the wrong sign"
    contrast = _summer_excess(scene, when)
    if contrast is not None and abs(contrast) > -_WRONG_SEASON:
        return _LATITUDE if contrast < 0 else _LONGITUDE
    return _LATITUDE.replace("latitude is", "latitude or longitude is")


def _cause_of_speed(ratio: float) -> str:
    for factor, words in ((1.94, "knots"), (3.6, "km h-1"), (100.0, "cm s-1")):
        if 0.8 < ratio / factor < 1.3:
            return f"looks like {words}, not m s-1"
    return "wind or geopotential in other units"


def _free(balance: _Balance) -> bool:
    """Whether the wind is above the friction of the ground."""
    mass = balance.channels[0]
    return mass != _SURFACE_PRESSURE and int(mass[1:]) <= _BOUNDARY_LAYER_HPA


def _warm_channels(scene: Scene) -> tuple[str, ...]:
    wanted = (*_NEAR_GROUND, *(f"t{level}" for level in LEVELS_13 if level >= 500))
    return tuple(name for name in wanted if name in scene.fields)


def _summer_excess(scene: Scene, when: np.datetime64 | None) -> float | None:
    """By how much the hemisphere that has summer is warmer between 30 and 70 degrees, K; None between the seasons."""
    names = _warm_channels(scene)
    if when is None or not names or not scene.globe:
        return None
    # The atmosphere is coldest in the north about five weeks after the solstice.
    season = -np.cos(2 * np.pi * (pd.Timestamp(when).day_of_year - 27) / 365.25)
    if abs(season) < 0.7:
        return None
    contrast = np.mean([scene.band_mean(n, 30, 70) - scene.band_mean(n, -70, -30) for n in names])
    return float(contrast * np.sign(season))
