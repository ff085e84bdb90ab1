"""Sigma levels to pressure levels and to mean sea level, hydrostatically. Numpy only.

Legend: arrays are (..., level, x, y) with the top level first, surface arrays (..., x, y);
sigma = pressure / surface pressure; heights are geopotentials, m2 s-2; pressures in Pa.
Between two model levels virtual temperature is linear in ln p. Below the lowest level, also under
ground, it follows the standard lapse rate; above the highest it is constant.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

GRAVITY = 9.80665
GAS_CONSTANT_DRY = 287.05
LAPSE_RATE = 0.0065
# d ln T / d ln p in an atmosphere of the standard lapse rate, K m-1.
POWER = LAPSE_RATE * GAS_CONSTANT_DRY / GRAVITY
VAPOR_FACTOR = 0.608
# ECMWF's bounds for the reduction to sea level (IFS documentation, part VI): the lapse rate must
# not carry warm ground past 290.5 K, and ground colder than 255 K is taken to be an inversion.
WARM_GROUND_K = 290.5
COLD_GROUND_K = 255.0


def virtual_temperature(temperature: Array, humidity: Array) -> Array:
    """Return T (1 + 0.608 q), K; negative humidity counts as none."""
    return temperature * (1.0 + VAPOR_FACTOR * np.maximum(humidity, 0.0))


class PressureLevels:
    """Where pressure levels lie among sigma levels, for one array of surface pressures."""

    def __init__(self, sigma: Array, surface_pressure: Array, levels: tuple[int, ...]) -> None:
        """Locate `levels` (hPa) between the full levels `sigma` (ascending, top first)."""
        self.log_sigma = np.log(sigma)
        log_level = np.log(np.asarray(levels, dtype=np.float64) * 100.0)[:, None, None]
        target = log_level - np.log(surface_pressure)[..., None, :, :]
        layer = np.searchsorted(self.log_sigma, target) - 1
        self.upper = np.clip(layer, 0, len(sigma) - 2)
        # Distance in ln p below the layer's top, and the depth of the layer.
        self.distance = target - self.log_sigma[self.upper]
        self.depth = np.diff(self.log_sigma)[self.upper]
        self.below_lowest = target - self.log_sigma[-1]
        self.above_highest = target - self.log_sigma[0]

    def _layer(self, field: Array) -> tuple[Array, Array]:
        """Return the field at the top and at the bottom of each target's layer."""
        top = np.take_along_axis(field, self.upper, axis=-3)
        return top, np.take_along_axis(field, self.upper + 1, axis=-3)

    def linear(self, field: Array) -> Array:
        """Interpolate linearly in ln p; constant beyond the lowest and the highest level."""
        top, bottom = self._layer(field)
        return top + (bottom - top) * np.clip(self.distance / self.depth, 0.0, 1.0)

    def temperature(self, temperature: Array) -> Array:
        """Interpolate temperature, K; the standard lapse rate below the lowest level."""
        lowest = temperature[..., -1:, :, :]
        extrapolated = lowest * np.exp(POWER * self.below_lowest)
        return np.where(self.below_lowest > 0, extrapolated, self.linear(temperature))

    def geopotential(self, geopotential: Array, virtual: Array) -> Array:
        """Interpolate geopotential, m2 s-2, hydrostatically for virtual temperature `virtual`, K.

        d phi / d ln p = -R T. With T linear in x = distance and the model's own geopotential kept
        at both ends of the layer, phi is linear plus R (dT/dx) x (depth - x) / 2.
        """
        top, bottom = self._layer(geopotential)
        warm_top, warm_bottom = self._layer(virtual)
        x, depth = self.distance, self.depth
        gradient = (warm_bottom - warm_top) / depth
        curved = 0.5 * GAS_CONSTANT_DRY * gradient * x * (depth - x)
        inside = top + (bottom - top) * x / depth + curved
        growth = (np.exp(POWER * self.below_lowest) - 1.0) / POWER
        below = geopotential[..., -1:, :, :] - GAS_CONSTANT_DRY * virtual[..., -1:, :, :] * growth
        thickness = GAS_CONSTANT_DRY * virtual[..., :1, :, :] * self.above_highest
        above = geopotential[..., :1, :, :] - thickness
        inside = np.where(self.above_highest < 0, above, inside)
        result: Array = np.where(self.below_lowest > 0, below, inside)
        return result


def mean_sea_level_pressure(
    surface_pressure: Array, surface_geopotential: Array, lowest_virtual: Array, lowest_sigma: float
) -> Array:
    """Reduce surface pressure to sea level, Pa (ECMWF's method, IFS documentation, part VI).

    Args:
        surface_pressure: Pa.
        surface_geopotential: m2 s-2.
        lowest_virtual: virtual temperature of the lowest model level, K.
        lowest_sigma: sigma of that level.
    """
    height = surface_geopotential / GRAVITY
    ground = lowest_virtual * lowest_sigma**-POWER
    capped = np.clip((WARM_GROUND_K - ground) / np.maximum(height, 1.0), 0.0, LAPSE_RATE)
    too_warm = (ground + LAPSE_RATE * height > WARM_GROUND_K) & (height > 0)
    lapse = np.where(too_warm, capped, LAPSE_RATE)
    ground = np.where(ground < COLD_GROUND_K, 0.5 * (COLD_GROUND_K + ground), ground)
    ratio = lapse * height / ground
    series = 1.0 - ratio / 2.0 + ratio**2 / 3.0
    column = surface_geopotential / (GAS_CONSTANT_DRY * ground)
    reduced: Array = surface_pressure * np.exp(column * series)
    return reduced
