import numpy as np
import pytest

from fuxi_ens.data.regrid import Regridder, same_grid
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid, area_weights

PAIRS = [
    ((721, 1440), (121, 240)),
    ((73, 144), (32, 64)),
    ((64, 128), (32, 64)),
    ((37, 72), (19, 36)),
    ((40, 80), (21, 32)),
]


def regridder(source, target):
    return Regridder(source.latitude, source.longitude, target, "here.zarr")


def edges(grid):
    """South, north, west, east of every cell, in degrees; cells at the poles are cut in half."""
    half = 90.0 / (grid.height - 1 if grid.height % 2 else grid.height)
    south, north = np.maximum(grid.latitude - half, -90.0), np.minimum(grid.latitude + half, 90.0)
    return south, north, grid.longitude - 180.0 / grid.width, grid.longitude + 180.0 / grid.width


def cell_means(grid):
    """Means over the cells of 2 + sin(latitude) + cos(latitude)^2 cos(2 longitude), integrated by hand."""
    south, north, west, east = (np.deg2rad(edge) for edge in edges(grid))
    area = np.sin(north) - np.sin(south)
    sine = (np.sin(north) ** 2 - np.sin(south) ** 2) / 2 / area
    cosine = ((np.sin(north) - np.sin(north) ** 3 / 3) - (np.sin(south) - np.sin(south) ** 3 / 3)) / area
    wave = (np.sin(2 * east) - np.sin(2 * west)) / 2 / (east - west)
    return 2 + sine[:, None] + cosine[:, None] * wave[None, :]


def overlap_by_hand(source, target, row, column):
    """Areas that every source cell shares with one target cell, by comparing edges one by one."""
    south, north, west, east = edges(source)
    bottom, top, left, right = (
        edge[index] for edge, index in zip(edges(target), (row, row, column, column), strict=True)
    )
    area = np.zeros((source.height, source.width))
    for i in range(source.height):
        low, high = max(south[i], bottom), min(north[i], top)
        if high <= low:
            continue
        for j in range(source.width):
            for turn in (-360.0, 0.0, 360.0):
                width = min(east[j] + turn, right) - max(west[j] + turn, left)
                if width > 0:
                    area[i, j] += width * (np.sin(np.deg2rad(high)) - np.sin(np.deg2rad(low)))
    return area


@pytest.mark.parametrize(
    ("source", "target"), [((721, 1440), (241, 480)), ((181, 360), (61, 72)), ((90, 180), (30, 60))]
)
def test_cells_that_nest_get_the_integral_over_them(source, target):
    # Three or five cells wide: the edges of the target are edges of the source, at the poles and around Greenwich too.
    source, target = LatLonGrid(*source), LatLonGrid(*target)
    np.testing.assert_allclose(
        regridder(source, target)(cell_means(source).astype("f4")), cell_means(target), rtol=3e-7
    )


@pytest.mark.parametrize(("source", "target"), PAIRS[1:])
def test_poles_seam_and_interior_equal_overlaps_by_hand(source, target, rng):
    source, target = LatLonGrid(*source), LatLonGrid(*target)
    field = rng.standard_normal((source.height, source.width)).astype("f4")
    result = regridder(source, target)(field)
    for row in (0, 1, target.height // 3, target.height - 1):
        for column in (0, 1, target.width // 2, target.width - 1):
            area = overlap_by_hand(source, target, row, column)
            assert result[row, column] == pytest.approx(np.average(field, weights=area), abs=1e-6)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_global_mean_is_kept(source, target, rng):
    source, target = LatLonGrid(*source), LatLonGrid(*target)
    field = (300.0 + rng.standard_normal((source.height, source.width))).astype("f4")
    result = regridder(source, target)(field)
    before = np.average(field.astype("f8").mean(1), weights=area_weights(source.latitude))
    after = np.average(result.astype("f8").mean(1), weights=area_weights(target.latitude))
    assert after == pytest.approx(before, rel=1e-8)


def test_what_was_not_negative_stays_so_and_extremes_do_not_grow(rng):
    source, target = LatLonGrid(73, 144), LatLonGrid(32, 64)
    field = np.where(rng.random((source.height, source.width)) < 0.9, 0.0, rng.random((73, 144))).astype("f4")
    result = regridder(source, target)(field)
    assert result.min() >= 0.0
    assert result.max() <= field.max()
    assert (result == 0.0).any()


def test_a_cell_has_a_value_when_half_of_it_has_one():
    source, target = LatLonGrid(8, 24), LatLonGrid(8, 8)
    field = np.full((8, 24), np.nan, "f4")
    # Target column 0 covers source columns 23, 0 and 1; column 1 covers 2, 3 and 4.
    field[:, [23, 0]] = 3.0, 5.0
    field[:, 2] = 7.0
    result = regridder(source, target)(field)
    np.testing.assert_allclose(result[:, 0], 4.0)
    assert np.isnan(result[:, 1:]).all()


def test_exactly_half_a_cell_is_enough():
    source, target = LatLonGrid(64, 128), LatLonGrid(32, 64)
    field = np.full((64, 128), np.nan, "f4")
    # Equal halves of target column 0 west and east of Greenwich: half of 127, all of 0, half of 1.
    field[:, 0] = 2.0
    np.testing.assert_allclose(regridder(source, target)(field)[:, 0], 2.0)


def test_leading_axes_stay(rng):
    source, target = LatLonGrid(16, 32), LatLonGrid(8, 16)
    fields = rng.standard_normal((3, 2, 16, 32)).astype("f4")
    regrid = regridder(source, target)
    result = regrid(fields)
    assert result.shape == (3, 2, 8, 16)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[2, 1], regrid(fields[2, 1]))


def test_gaussian_latitudes_are_taken_as_they_are():
    latitude = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(32)[0][::-1]))
    regrid = Regridder(latitude, LatLonGrid(32, 64).longitude, LatLonGrid(16, 32), "n16.grib")
    field = np.broadcast_to(latitude[:, None], (32, 64)).astype("f4")
    result = regrid(field)[:, 0]
    # Gaussian cells are not even; the mean of a latitude over a cell lies inside it.
    np.testing.assert_allclose(result, LatLonGrid(16, 32).latitude, atol=3.0)
    np.testing.assert_allclose(result, -result[::-1], atol=1e-5)


def test_same_grid():
    grid = LatLonGrid(121, 240)
    assert same_grid(grid.latitude.astype("f4"), grid.longitude.astype("f4"), grid)
    assert not same_grid(grid.latitude[::-1], grid.longitude, grid)
    assert not same_grid(grid.latitude, grid.longitude + 0.75, grid)
    assert not same_grid(LatLonGrid(120, 240).latitude, grid.longitude, grid)


@pytest.mark.parametrize(
    ("rows", "columns", "match"),
    [
        (slice(0, 20), slice(None), "no global grid"),
        (slice(None), slice(0, 40), "no global grid"),
        (slice(None, None, -1), slice(None), "no global grid"),
        (slice(None, None, 4), slice(None), "coarser than the model's 32x32"),
    ],
)
def test_what_cannot_be_regridded_is_refused_with_its_name(rows, columns, match):
    source = LatLonGrid(73, 144)
    with pytest.raises(StoreError, match=rf"here.zarr.*{match}"):
        Regridder(source.latitude[rows], source.longitude[columns], LatLonGrid(32, 32), "here.zarr")
