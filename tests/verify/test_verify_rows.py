"""Sums along rows against plain loops, to the bit; the speed of the wind; memory that is used again."""

import numpy as np
import pytest
from score_blocks import AREAS, REGION_NAMES, make_block

from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.points import point_statistics
from fuxi_ens.verify.rows import count_ranks, row_sums
from fuxi_ens.verify.speed import wind_speed


def loop(points, valid, columns):
    """One addition after the other, from west to east."""
    out = np.zeros((len(points), len(columns), points.shape[1]))
    for (k, i, j), value in np.ndenumerate(points):
        for c, chosen in enumerate(columns):
            if valid[i, j] and chosen[j]:
                out[k, c, i] += np.float64(value)
    return out


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_summed_in_the_order_of_the_columns(rng, height, dtype):
    points = rng.standard_normal((3, height, 11)).astype(dtype)
    valid, columns = rng.random((height, 11)) < 0.8, rng.random((2, 11)) < 0.7
    points[:, ~valid] = np.nan
    found = np.full((3, 2, height), np.nan)
    row_sums(points, valid, columns, found)
    np.testing.assert_array_equal(found, loop(points, valid, columns))


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("height", [6, 9])
def test_sums_of_averages_are_those_of_the_averages_to_the_bit(rng, members, height):
    grid = LatLonGrid(height, 12)
    areas = Areas.of(REGION_NAMES, grid.latitude, grid.longitude)
    ensemble = rng.standard_normal((members, height, 12)).astype(np.float32)
    truth = rng.standard_normal((height, 12)).astype(np.float32)
    truth[2, 3] = np.nan
    points, valid = point_statistics(ensemble, truth), ~np.isnan(truth)
    np.testing.assert_array_equal(points.sums_of_averages(areas, valid), areas.sums(points.averages(), valid))


@pytest.mark.parametrize("members", [1, 4])
def test_averages_are_their_definitions_in_float32(rng, members):
    block = make_block(rng, members)
    points = block.points
    standard = points.absolute_error - np.float32(1 - 1 / members) * points.difference
    fair = points.absolute_error - points.difference if members > 1 else np.full_like(standard, np.nan)
    expected = fair, standard, points.error**2, points.variance, points.error, np.abs(points.error)
    np.testing.assert_array_equal(points.averages(), np.stack(expected))


def test_ranks_are_counted_as_a_loop_counts_them(rng):
    below, equal = rng.integers(0, 4, (5, 7), dtype=np.int32), rng.integers(0, 3, (5, 7), dtype=np.int32)
    valid, columns = rng.random((5, 7)) < 0.8, rng.random((2, 7)) < 0.7
    expected = np.zeros((2, 5, 7))
    for i, j in np.argwhere(valid):
        for c in np.flatnonzero(columns[:, j]):
            expected[c, i, below[i, j] : below[i, j] + equal[i, j] + 1] += 1.0 / (equal[i, j] + 1)
    found = np.zeros_like(expected)
    count_ranks(below, equal, valid, columns, found)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_speed_is_the_length_of_the_vector(rng, dtype, order):
    u, v = (np.asarray(20 * rng.standard_normal((3, 8, 16)), dtype, order=order) for _ in range(2))
    u[0, 0, 0] = np.nan
    expected = np.hypot(u, v)
    # C libraries may differ in the last digit.
    np.testing.assert_allclose(wind_speed(u, v), expected, rtol=np.finfo(dtype).eps)
    assert wind_speed(u, v, out=u) is u
    np.testing.assert_allclose(u, expected, rtol=np.finfo(dtype).eps)


def test_points_in_given_memory_hold_until_it_is_used_again(rng):
    memory = Scratch()
    first, second = (make_block(rng, memory=memory) for _ in range(2))
    alone = point_statistics(first.ensemble, first.truth)
    np.testing.assert_array_equal(first.points.error, alone.error)
    assert np.shares_memory(first.points.error, second.points.error)
    np.testing.assert_array_equal(second.points.error, point_statistics(second.ensemble, second.truth).error)


def test_blocks_have_memory_of_their_own_unless_they_are_given_some(rng):
    first, second = make_block(rng), make_block(rng)
    assert first.areas is AREAS
    assert not np.shares_memory(first.points.error, second.points.error)
