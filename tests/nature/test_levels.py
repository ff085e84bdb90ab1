"""Vertical interpolation against columns whose answer is known in closed form."""

import numpy as np
import pytest

from fuxi_ens.nature import levels

SIGMA = np.array([0.025, 0.095, 0.2, 0.34, 0.51, 0.685, 0.835, 0.95])
TARGETS = (50, 100, 250, 500, 700, 850)
SURFACE_PRESSURE = np.array([[101_325.0, 98_000.0], [100_000.0, 103_000.0]])
R, G, LAPSE = levels.GAS_CONSTANT_DRY, levels.GRAVITY, levels.LAPSE_RATE


def column(values_of_sigma: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values_of_sigma[:, None, None], (len(SIGMA), 2, 2))


@pytest.fixture
def at() -> levels.PressureLevels:
    return levels.PressureLevels(SIGMA, SURFACE_PRESSURE, TARGETS)


def pressure() -> np.ndarray:
    return np.asarray(TARGETS, float)[:, None, None] * 100.0


def test_isothermal_atmosphere_is_exact(at: levels.PressureLevels) -> None:
    temperature = column(np.full(len(SIGMA), 260.0))
    geopotential = column(-R * 260.0 * np.log(SIGMA))
    expected = R * 260.0 * np.log(SURFACE_PRESSURE / pressure())
    inside = pressure() < SURFACE_PRESSURE * SIGMA[-1]
    found = at.geopotential(geopotential, temperature)
    assert inside.all()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(at.temperature(temperature), 260.0, rtol=1e-12)


def test_constant_lapse_rate_stays_within_meters(at: levels.PressureLevels) -> None:
    temperature = column(288.0 * SIGMA**levels.POWER)
    geopotential = G / LAPSE * (288.0 - temperature)
    exact = 288.0 * (pressure() / SURFACE_PRESSURE) ** levels.POWER
    troposphere = pressure() >= 25_000.0
    # Temperature is not linear in ln p here; within a layer it strays by less than 1 K.
    error = np.abs(at.temperature(temperature) - exact)
    assert error[troposphere[:, 0, 0]].max() < 1.0
    height = G / LAPSE * (288.0 - exact)
    error = np.abs(at.geopotential(geopotential, temperature) - height) / G
    assert error[troposphere[:, 0, 0]].max() < 10.0


def test_thickness_between_levels_is_hydrostatic() -> None:
    # Many levels within one layer: the slope of phi must be -R T everywhere in it.
    fine = tuple(range(560, 640, 5))
    at = levels.PressureLevels(SIGMA, SURFACE_PRESSURE, fine)
    virtual = column(300.0 + 30.0 * np.log(SIGMA))
    # Exact for T linear in ln p: phi = -R (300 ln s + 15 (ln s)^2).
    geopotential = column(-R * (300.0 * np.log(SIGMA) + 15.0 * np.log(SIGMA) ** 2))
    found = at.geopotential(geopotential, virtual)
    log_sigma = np.log(np.asarray(fine)[:, None, None] * 100.0 / SURFACE_PRESSURE)
    exact = -R * (300.0 * log_sigma + 15.0 * log_sigma**2)
    np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_under_ground_the_standard_lapse_rate_is_exact() -> None:
    at = levels.PressureLevels(SIGMA, np.full((2, 2), 80_000.0), (850, 1000))
    temperature = column(288.0 * SIGMA**levels.POWER)
    geopotential = G / LAPSE * (288.0 - temperature)
    ratio = np.array([850.0, 1000.0])[:, None, None] / 800.0 * np.ones((1, 2, 2))
    exact = 288.0 * ratio**levels.POWER
    np.testing.assert_allclose(at.temperature(temperature), exact, rtol=1e-12)
    np.testing.assert_allclose(at.geopotential(geopotential, temperature), G / LAPSE * (288.0 - exact), rtol=1e-9)


def test_winds_are_constant_beyond_the_outermost_levels() -> None:
    at = levels.PressureLevels(SIGMA, np.full((2, 2), 100_000.0), (10, 1000))
    wind = column(np.arange(8.0))
    np.testing.assert_array_equal(at.linear(wind)[:, 0, 0], [0.0, 7.0])


def test_sea_level_pressure_of_the_standard_atmosphere() -> None:
    height = np.array([[0.0, 500.0], [1000.0, 2000.0]])
    ground = 288.15 - LAPSE * height
    surface = 101_325.0 * (ground / 288.15) ** (1.0 / levels.POWER)
    lowest = ground * SIGMA[-1] ** levels.POWER
    found = levels.mean_sea_level_pressure(surface, G * height, lowest, float(SIGMA[-1]))
    # The reduction is a series cut after its third term.
    np.testing.assert_allclose(found, 101_325.0, rtol=2e-5)


def test_negative_humidity_counts_as_none() -> None:
    assert levels.virtual_temperature(np.array(280.0), np.array(-0.001)) == 280.0
