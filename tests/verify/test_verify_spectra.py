"""Spectra: closed forms on both kinds of grid, Parseval, and the family on blocks."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.special import sph_harm_y
from score_blocks import GRID, make_block, scores_of, statistics

from fuxi_ens.errors import UserError
from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.verify import spectra
from fuxi_ens.verify.families.spectra import Spectra

GRIDS = [LatLonGrid(32, 64), LatLonGrid(33, 64), LatLonGrid(8, 16), LatLonGrid(19, 36)]
POLES = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.height}x{grid.width}")


def on(grid, values):
    coords = {"latitude": grid.latitude, "longitude": grid.longitude}
    return xr.DataArray(values, coords, ("latitude", "longitude"))


def harmonic(grid, degree, order):
    """Real harmonic whose area mean square is 1."""
    theta, phi = np.deg2rad(90 - grid.latitude)[:, None], np.deg2rad(grid.longitude)[None, :]
    value = sph_harm_y(degree, order, theta, phi)
    return on(grid, np.sqrt(4 * np.pi) * (value.real if order == 0 else np.sqrt(2) * value.real))


@POLES
def test_highest_degree_is_what_the_grid_resolves(grid):
    top = spectra.highest_degree(grid.height, grid.width)
    for degree, order in ((0, 0), (1, 1), (top, 0), (top, top), (top, 1)):
        expected = np.zeros(top + 1)
        expected[degree] = 1.0
        np.testing.assert_allclose(spectra.power_spectrum(harmonic(grid, degree, order)), expected, atol=1e-12)


@pytest.mark.parametrize(("size", "degree"), [((721, 1440), 719), ((121, 240), 119), ((32, 64), 31)])
def test_highest_degrees_of_usual_grids(size, degree):
    assert spectra.highest_degree(*size) == degree


@POLES
def test_powers_add_up_to_the_mean_square(grid, rng):
    top = spectra.highest_degree(grid.height, grid.width)
    # Products of fields below half the highest degree are integrated exactly by any rule.
    field = sum(rng.standard_normal() * harmonic(grid, d, m) for d in range(top // 2) for m in range(d + 1))
    power = spectra.power_spectrum(field)
    weights = on(grid, np.broadcast_to(quadrature(grid)[:, None], (grid.height, grid.width)))
    assert float(power.sum()) == pytest.approx(float((field**2).weighted(weights).mean()), rel=1e-12)


def quadrature(grid):
    """Weights of rows that integrate polynomials in sin(latitude) exactly, from the moments themselves."""
    x = np.sin(np.deg2rad(grid.latitude))
    degrees = np.arange(grid.height)
    moments = np.where(degrees % 2 == 0, 2 / np.where(degrees % 2 == 0, 1 - degrees.astype(float) ** 2, 1.0), 0.0)
    return np.linalg.solve(np.cos(degrees[:, None] * np.arccos(x)[None, :]), moments)


def test_mean_square_by_cell_areas_is_nearly_the_same(rng):
    grid = LatLonGrid(32, 64)
    field = sum(rng.standard_normal() * harmonic(grid, d, m) for d in range(8) for m in range(d + 1))
    weights = on(grid, np.broadcast_to(area_weights(grid.latitude)[:, None], (32, 64)))
    mean = float((field**2).weighted(weights).mean())
    assert float(spectra.power_spectrum(field).sum()) == pytest.approx(mean, rel=0.02)


@POLES
def test_solid_body_rotation_has_a_third_of_its_square_at_degree_one(grid):
    u = on(grid, np.broadcast_to(20 * np.cos(np.deg2rad(grid.latitude))[:, None], (grid.height, grid.width)))
    energy = spectra.energy_spectrum(u, 0 * u)
    assert float(energy[1]) == pytest.approx(400 / 3, rel=1e-12)
    np.testing.assert_allclose(np.delete(energy.values, 1), 0.0, atol=1e-10)


@POLES
def test_flow_over_the_pole_is_degree_one_too(grid):
    # Rotation about an axis in the equator: u and v are not smooth at the poles, the wind is.
    latitude, longitude = np.deg2rad(grid.latitude)[:, None], np.deg2rad(grid.longitude)[None, :]
    u, v = on(grid, -20 * np.sin(latitude) * np.cos(longitude)), on(grid, 20 * np.sin(longitude) + 0 * latitude)
    energy = spectra.energy_spectrum(u, v)
    assert float(energy[1]) == pytest.approx(400 / 3, rel=1e-12)
    np.testing.assert_allclose(np.delete(energy.values, 1), 0.0, atol=1e-10)


@POLES
def test_energy_is_that_of_vorticity_and_divergence(grid):
    # Rossby-Haurwitz wave: stream function K r^2 cos^4(lat) sin(lat) cos(4 lon), vorticity -30 psi / r^2.
    top = spectra.highest_degree(grid.height, grid.width)
    if top < 5:
        pytest.skip("the wave has degree 5")
    latitude, longitude = np.deg2rad(grid.latitude)[:, None], np.deg2rad(grid.longitude)[None, :]
    cos, sin = np.cos(latitude), np.sin(latitude)
    u = on(grid, -(cos**5 - 4 * cos**3 * sin**2) * np.cos(4 * longitude))
    v = on(grid, -4 * cos**3 * sin * np.sin(4 * longitude))
    vorticity = on(grid, -30 * cos**4 * sin * np.cos(4 * longitude))
    expected = float(spectra.power_spectrum(vorticity)[5]) / (2 * 5 * 6)
    energy = spectra.energy_spectrum(u, v)
    assert float(energy[5]) == pytest.approx(expected, rel=1e-10)
    assert float(energy.sum()) == pytest.approx(expected, rel=1e-10)


def test_spectrum_of_scalar_components_would_be_another(rng):
    grid = LatLonGrid(32, 64)
    u = on(grid, np.broadcast_to(np.cos(np.deg2rad(grid.latitude))[:, None], (32, 64)))
    scalar = 0.5 * spectra.power_spectrum(u)
    assert float(scalar[1]) < 1e-12
    assert float(spectra.energy_spectrum(u, 0 * u)[1]) == pytest.approx(1 / 3)


def test_gaps_give_nan_and_other_dimensions_stay(rng):
    field = xr.concat([harmonic(GRID, 2, 1), harmonic(GRID, 3, 0)], "number")
    field[1, 2, 3] = np.nan
    power = spectra.power_spectrum(field)
    assert power.dims == ("number", "degree")
    assert np.isnan(power).all("degree").values.tolist() == [False, True]
    lazy = spectra.power_spectrum(field.chunk(number=1))
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), power)


@pytest.mark.parametrize("latitude", [GRID.latitude[::-1], np.linspace(80, -80, 8)])
def test_other_grids_are_refused(latitude):
    field = harmonic(GRID, 1, 0).assign_coords(latitude=latitude)
    with pytest.raises(ValueError, match="from north to south"):
        spectra.power_spectrum(field)


def test_library_that_is_not_there_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "ducc0":
            raise ImportError("No module named 'ducc0'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"fuxi-ens\[spectra\]"):
        Spectra.from_config(None)


def test_family_averages_powers_not_fields(rng):
    blocks = [make_block(rng, 4, day=day) for day in range(3)]
    curves = Spectra.curves(statistics(Spectra(), blocks))
    members = np.mean([spectra.powers(member) for block in blocks for member in block.ensemble], axis=0)
    mean = np.mean([spectra.powers(block.ensemble.mean(axis=0, dtype=float)) for block in blocks], axis=0)
    np.testing.assert_allclose(curves["power_members"].squeeze(), members, rtol=1e-10)
    np.testing.assert_allclose(curves["power_mean"].squeeze(), mean, rtol=1e-5)
    assert (mean < members).all()
    assert np.isnan(curves["energy_members"]).all()


def test_small_scales_of_a_smoothed_ensemble_are_weak(rng):
    blocks = [make_block(rng, 4, day=day) for day in range(30)]
    sharp = scores_of(Spectra(), blocks)["small_scale_power"]
    smooth = [
        replace(block, ensemble=np.repeat(block.ensemble.mean(axis=0, keepdims=True), 4, axis=0)) for block in blocks
    ]
    assert sharp[0] == pytest.approx(1.0, abs=0.1)
    assert scores_of(Spectra(), smooth)["small_scale_power"][0] < 0.9 * sharp[0]
