import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuxi_ens.grid import REGIONS, LatLonGrid, Region, area_weights

LATITUDES = st.lists(st.floats(-90, 90), min_size=2, max_size=40, unique_by=lambda x: round(x, 3)).map(sorted)


def by_sine_bounds(latitude):
    """Straight from the definition, one row at a time."""
    rows = sorted(latitude)
    area = []
    for i, row in enumerate(rows):
        south = -90.0 if i == 0 else (rows[i - 1] + row) / 2
        north = 90.0 if i == len(rows) - 1 else (row + rows[i + 1]) / 2
        area.append(np.sin(np.radians(north)) - np.sin(np.radians(south)))
    weights = dict(zip(rows, np.array(area) / np.mean(area), strict=True))
    return np.array([weights[row] for row in latitude])


def by_integration(latitude, points=400_001):
    """Integral of cos(latitude) over the points nearest to each row, by the trapezoidal rule."""
    fine = np.linspace(-90, 90, points)
    rows = np.asarray(latitude, float)
    ascending = np.sort(rows)
    nearest = np.searchsorted((ascending[1:] + ascending[:-1]) / 2, fine)
    area = np.array([np.trapezoid(np.cos(np.radians(fine[nearest == i]))) for i in range(len(rows))])
    area /= area.mean()
    return area if rows[0] < rows[-1] else area[::-1]


GRIDS = [LatLonGrid(32, 64), LatLonGrid(121, 240), LatLonGrid(721, 1440), LatLonGrid(8, 16)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_area_weights_are_the_sine_of_the_bounds(grid):
    np.testing.assert_allclose(area_weights(grid.latitude), by_sine_bounds(grid.latitude), rtol=1e-10)


@pytest.mark.parametrize("grid", [LatLonGrid(32, 64), LatLonGrid(121, 240)], ids=str)
def test_area_weights_are_the_area_of_the_cells(grid):
    # Pole rows hold few of the integration points.
    np.testing.assert_allclose(area_weights(grid.latitude), by_integration(grid.latitude), rtol=2e-3)


@given(LATITUDES)
def test_weights_follow_the_order_of_the_rows_and_average_to_one(rows):
    ascending = area_weights(np.array(rows))
    assert ascending.mean() == pytest.approx(1.0, abs=1e-12)
    assert (ascending > 0).all()
    assert ascending.dtype == np.float64
    np.testing.assert_array_equal(area_weights(np.array(rows[::-1])), ascending[::-1])
    np.testing.assert_allclose(ascending, by_sine_bounds(rows), rtol=1e-6, atol=1e-9)


def test_float32_latitudes_give_float64_weights():
    latitude = LatLonGrid(32, 64).latitude
    weights = area_weights(latitude.astype(np.float32))
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, area_weights(latitude), rtol=1e-5)


@pytest.mark.parametrize(("height", "pole"), [(721, 0.000858), (181, 0.003446), (121, 0.005183)])
def test_pole_rows_have_the_weight_of_weatherbench(height, pole):
    weights = area_weights(LatLonGrid(height, 2 * (height - 1)).latitude)
    assert weights[0] == pytest.approx(pole, rel=1e-3)
    assert weights[0] == pytest.approx(weights[-1], rel=1e-9)


def test_rows_between_the_poles_weigh_as_the_cosine():
    latitude = LatLonGrid(32, 64).latitude
    cosine = np.cos(np.radians(latitude))
    np.testing.assert_allclose(area_weights(latitude), cosine / cosine.mean(), rtol=1e-10)


def test_the_area_mean_of_the_sphere_is_exact_for_the_first_harmonics():
    latitude = np.radians(LatLonGrid(721, 1440).latitude)
    weights = area_weights(np.degrees(latitude))
    assert np.mean(weights * np.sin(latitude)) == pytest.approx(0.0, abs=1e-12)
    assert np.mean(weights * np.sin(latitude) ** 2) == pytest.approx(1 / 3, rel=1e-5)


@pytest.mark.parametrize(
    "latitude",
    [[0.0, 0.0, 10.0], [10.0, -10.0, 20.0], [-91.0, 0.0], [0.0, 90.001], [45.0, 45.0]],
)
def test_latitudes_that_are_no_axis_are_refused(latitude):
    with pytest.raises(ValueError, match="strictly monotonic"):
        area_weights(np.array(latitude))


@pytest.mark.parametrize("latitude", [[], 45.0, [10.0, np.nan, -10.0], [[0.0, 1.0], [2.0, 3.0]]])
def test_what_is_no_series_of_numbers_is_refused(latitude):
    with pytest.raises(ValueError, match="latitudes"):
        area_weights(np.array(latitude))


def test_weights_of_the_caller_are_left_alone():
    latitude = LatLonGrid(8, 16).latitude
    before = latitude.copy()
    area_weights(latitude)[:] = 0
    np.testing.assert_array_equal(latitude, before)


@pytest.mark.parametrize(
    ("grid", "first", "second", "last"),
    [
        (LatLonGrid(721, 1440), 90.0, 89.75, -90.0),
        (LatLonGrid(121, 240), 90.0, 88.5, -90.0),
        (LatLonGrid(32, 64), 87.1875, 81.5625, -87.1875),
    ],
    ids=str,
)
def test_grids_are_those_of_weatherbench(grid, first, second, last):
    assert (grid.latitude[0], grid.latitude[1], grid.latitude[-1]) == (first, second, last)
    assert (grid.longitude[0], len(grid.longitude)) == (0.0, grid.width)
    assert grid.longitude[-1] == pytest.approx(360 - 360 / grid.width)


@given(st.integers(2, 400), st.integers(1, 400))
def test_a_grid_is_regular_symmetric_and_on_the_sphere(height, width):
    grid = LatLonGrid(height, width)
    np.testing.assert_allclose(grid.latitude, -grid.latitude[::-1], atol=1e-12)
    np.testing.assert_allclose(np.diff(grid.latitude), np.diff(grid.latitude)[0], rtol=1e-9)
    assert (np.diff(grid.latitude) < 0).all()
    assert abs(grid.latitude).max() == (90.0 if height % 2 else pytest.approx(90.0 - 90.0 / height))
    assert (grid.longitude >= 0).all()
    assert (grid.longitude < 360).all()


def test_a_region_holds_its_bounds():
    mask = Region(-20, 20, 10, 30).mask(np.array([-20.1, -20, 0, 20, 20.1]), np.array([9.9, 10, 30, 30.1]))
    np.testing.assert_array_equal(np.flatnonzero(mask.any(axis=1)), [1, 2, 3])
    np.testing.assert_array_equal(np.flatnonzero(mask.any(axis=0)), [1, 2])


def test_europe_wraps_around_greenwich():
    longitude = np.array([0.0, 42.5, 43.0, 180.0, 347.0, 347.5, 359.0])
    inside = REGIONS["europe"].mask(np.array([50.0]), longitude)[0]
    np.testing.assert_array_equal(inside, [True, True, False, False, False, True, True])


def test_a_region_that_ends_at_360_holds_greenwich():
    assert Region(west=350, east=360).mask(np.array([0.0]), np.array([0.0])).all()


@given(st.sampled_from(sorted(REGIONS)), st.floats(-90, 90), st.floats(0, 359.99))
def test_a_region_does_not_depend_on_how_longitudes_are_counted(name, latitude, longitude):
    region, row = REGIONS[name], np.array([latitude])
    here = region.mask(row, np.array([longitude]))
    west = longitude - 360.0 if longitude > 180.0 else longitude
    if west % 360.0 == longitude:
        np.testing.assert_array_equal(here, region.mask(row, np.array([west])))


def test_regions_are_those_of_weatherbench():
    boxes = {name: (r.south, r.north, r.west, r.east) for name, r in REGIONS.items()}
    assert boxes["tropics"] == (-20, 20, 0, 360)
    assert boxes["northern-hemisphere"] == (20, 90, 0, 360)
    assert boxes["southern-hemisphere"] == (-90, -20, 0, 360)
    assert boxes["europe"] == (35, 75, -12.5 + 360, 42.5)
    assert boxes["north-america"] == (25, 60, -120 + 360, -75 + 360)
    assert boxes["north-atlantic"] == (25, 65, -70 + 360, -10 + 360)
    assert boxes["north-pacific"] == (25, 60, 145, -130 + 360)
    assert boxes["east-asia"] == (25, 60, 102.5, 150)
    assert boxes["ausnz"] == (-45, -12.5, 120, 175)
    assert (boxes["arctic"][0], boxes["antarctic"][1]) == (60, -60)


def test_the_globe_is_everything():
    grid = LatLonGrid(121, 240)
    assert REGIONS["global"].mask(grid.latitude, grid.longitude).all()
