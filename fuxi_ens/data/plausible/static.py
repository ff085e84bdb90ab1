"""Do orography and land-sea mask show the Earth, the right way round?"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.channels import STATIC_LAND_SEA_MASK, STATIC_OROGRAPHY, SURFACE
from fuxi_ens.data.plausible.finding import Finding, Scene, area_mean
from fuxi_ens.grid import Region
from fuxi_ens.stores.units import STANDARD_GRAVITY

Field = NDArray[np.floating]

_SEA: Final = next(v.short for v in SURFACE if v.may_be_missing)
_HIGH: Final = (Region(-90, -75), Region(30, 36, 80, 95), Region(68, 78, 315, 325))
"""Antarctica, Tibet, Greenland: 19100, 38200, 19300 m2 s-2 on the coarse and smooth nature run, more elsewhere."""
_FLAT: Final = Region(-15, 15, 190, 220)
"""The middle of the Pacific: within 1 m2 s-2 of zero."""
_LEAST_HEIGHT: Final = 9000.0
_LARGEST_SEA_HEIGHT: Final = 3000.0
_METERS: Final = 1000.0
"""In meters these regions would lie between this and `_LEAST_HEIGHT`."""
_LEAST_AGREEMENT: Final = 0.5
"""Correlation of missing sea temperature with land: 0.92 on the nature run, at most 0.39 in another orientation."""

_TURNS: Final[Mapping[str, Callable[[Field], Field]]] = MappingProxyType(
    {
        "latitude is reversed in the data, whatever its labels say": lambda field: field[::-1],
        "longitude runs westward in the data, whatever its labels say": lambda field: field[:, ::-1],
        "longitude begins at 180 in the data, whatever its labels say": lambda field: np.roll(
            field, field.shape[1] // 2, axis=1
        ),
        "latitude and longitude are both reversed in the data": lambda field: field[::-1, ::-1],
    }
)


def static_fields(scene: Scene, static: Mapping[str, Field]) -> Iterator[Finding]:
    """Findings on orography and land-sea mask, and on the land that the sea temperature knows."""
    if not scene.globe:
        return
    if STATIC_OROGRAPHY in static:
        yield from _orography(scene, static[STATIC_OROGRAPHY])
    if STATIC_LAND_SEA_MASK in static:
        mask = static[STATIC_LAND_SEA_MASK]
        yield from _land(scene, mask)
        yield from _sea(scene, mask)


def _orography(scene: Scene, orography: Field) -> Iterator[Finding]:
    heights = _landmarks(scene, orography)
    if _is_earth(heights):
        return
    got = "{:.0f} in Antarctica, {:.0f} in Tibet, {:.0f} in Greenland, {:.0f} in the Pacific (m2 s-2)".format(*heights)
    expected = f"more than {_LEAST_HEIGHT:.0f} in all but the Pacific, nearly 0 there"
    turned = [words for words, turn in _TURNS.items() if _is_earth(_landmarks(scene, turn(orography)))]
    high = [height for height in heights[:-1] if np.isfinite(height)]
    in_meters = high and all(_METERS < height < _LEAST_HEIGHT for height in high)
    if turned:
        yield Finding("landmarks", (STATIC_OROGRAPHY,), got, expected, turned[0])
    elif in_meters and _is_earth(_landmarks(scene, orography * STANDARD_GRAVITY)):
        yield Finding("landmarks", (STATIC_OROGRAPHY,), got, expected, "looks like meters, not m2 s-2")


def _landmarks(scene: Scene, orography: Field) -> tuple[float, ...]:
    """Mean heights of the high regions and of the sea; NaN where a coarse grid has no point."""
    means = []
    for region in (*_HIGH, _FLAT):
        points = orography[region.mask(scene.latitude, scene.longitude)]
        means.append(float(np.mean(points)) if points.size else float("nan"))
    return tuple(means)


def _is_earth(heights: tuple[float, ...]) -> bool:
    *high, sea = heights
    return not any(height < _LEAST_HEIGHT for height in high) and not abs(sea) > _LARGEST_SEA_HEIGHT


def _land(scene: Scene, mask: Field) -> Iterator[Finding]:
    weights = scene.weights()
    north, south = (area_mean(mask[rows], weights[rows]) for rows in (scene.latitude > 0, scene.latitude < 0))
    if south > north + 0.05:
        yield Finding(
            "land", (STATIC_LAND_SEA_MASK,), f"{north:.2f} of the north and {south:.2f} of the south is land",
            "0.39 and 0.19", "latitude is reversed in the data, whatever its labels say, or the mask is of the sea",
        )  # fmt: skip
    elif not -0.01 <= float(np.nanmin(mask)) <= float(np.nanmax(mask)) <= 1.01:
        yield Finding(
            "land", (STATIC_LAND_SEA_MASK,), f"{np.nanmin(mask):.4g} to {np.nanmax(mask):.4g}", "0 to 1",
            "looks like percent, not a share",
        )  # fmt: skip


def _sea(scene: Scene, mask: Field) -> Iterator[Finding]:
    if _SEA not in scene.fields:
        return
    missing = np.isnan(scene.fields[_SEA])
    land = mask > 0.5
    # Some archives fill the land; a mask of one value says nothing.
    if not (0.05 < missing.mean() < 0.95 and 0.05 < land.mean() < 0.95):
        return
    agreement = float(np.corrcoef(missing.ravel(), land.ravel())[0, 1])
    if agreement < _LEAST_AGREEMENT:
        yield Finding(
            "land", (_SEA, STATIC_LAND_SEA_MASK), f"correlation {agreement:.2f} of missing points with land",
            f"more than {_LEAST_AGREEMENT}", "sea temperature and mask lie in different orientations",
        )  # fmt: skip
