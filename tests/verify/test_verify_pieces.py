"""Sums along rows in the kernel's pass: brute force, pieces of any size, announced or alone, float64."""

from dataclasses import replace

import numpy as np
import properscoring
import pytest
from score_blocks import AREAS, make_block

from fuxi_ens.verify import pieces
from fuxi_ens.verify.families.events import QuantileEvents
from fuxi_ens.verify.families.hersbach import HersbachParts
from fuxi_ens.verify.families.tails import Tails
from fuxi_ens.verify.pieces import event_tables, pieces_of, tail_sums

QUANTILES = (0.1, 0.9)
FAMILIES = (QuantileEvents(QUANTILES), Tails(QUANTILES), HersbachParts())


def all_sums(block, announced):
    """Of all families with sums along rows; all in one pass, or each in its own."""
    if announced:
        for family in FAMILIES:
            family.announce(block)
    return {name: values for family in FAMILIES for name, values in family.of_block(block).items()}


def assert_equal_sums(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], **{"rtol": 0, "atol": 0, **tolerance}, err_msg=name)


@pytest.mark.parametrize("members", [1, 5, 50])
def test_one_pass_gives_the_bits_of_a_pass_for_each_family(rng, members):
    block = make_block(rng, members, holes=9)
    together = replace(block, row_sums={})
    assert_equal_sums(all_sums(together, announced=True), all_sums(block, announced=False))
    assert list(together.row_sums) == [family.name for family in FAMILIES]
    np.testing.assert_array_equal(together.points.difference, block.points.difference)


@pytest.mark.parametrize("points", [16, 40, 10**6])
def test_pieces_of_any_size_give_the_same_bits(rng, monkeypatch, points):
    block = make_block(rng, 7, holes=9)
    expected = all_sums(replace(block, row_sums={}), announced=True)
    # The kernel takes no less than some rows of this grid.
    monkeypatch.setattr(pieces, "_POINTS", max(points, 64))
    assert_equal_sums(all_sums(replace(block, row_sums={}), announced=True), expected)


@pytest.mark.parametrize("shape", [(1, 7), (721, 1440), (32, 64), (69, 30), (5, 100_000)])
def test_pieces_cover_every_row_once_and_are_nearly_equal(shape):
    covered = list(pieces_of(shape))
    rows = [row for start, stop in covered for row in range(start, stop)]
    assert rows == list(range(shape[0]))
    lengths = [stop - start for start, stop in covered]
    assert max(lengths) - min(lengths) <= 1


def test_double_precision_takes_the_other_way_to_the_same_sums(rng):
    block = make_block(rng, 6, holes=9)
    doubles = replace(block, ensemble=block.ensemble.astype(float), truth=block.truth.astype(float), row_sums={})
    assert_equal_sums(all_sums(doubles, announced=True), all_sums(block, announced=True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("members", [1, 4, 6, 51])
def test_tables_count_members_strictly_beyond(rng, members, above):
    # Whole numbers, so that members and truths often equal the threshold.
    ensemble, truth = (rng.integers(-2, 3, (*n, 3, 10)).astype(np.float32) for n in ((members,), ()))
    threshold = rng.integers(-1, 2, (3, 10)).astype(np.float32)
    threshold[0, 0] = np.nan
    asked, columns = rng.random((3, 10)) < 0.8, rng.random((2, 10)) < 0.7
    expected = np.zeros((2, 2, 3, members + 1))
    for i, j in np.argwhere(asked):
        beyond = (ensemble[:, i, j] > threshold[i, j]) if above else (ensemble[:, i, j] < threshold[i, j])
        occurred = truth[i, j] > threshold[i, j] if above else truth[i, j] < threshold[i, j]
        for c in np.flatnonzero(columns[:, j]):
            expected[0, c, i, beyond.sum()] += 1
            expected[1, c, i, beyond.sum()] += occurred
    found = np.zeros_like(expected)
    event_tables(ensemble, truth, threshold, above, asked, columns, (0, 3), found)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("members", [1, 2, 7, 8])
def test_tails_are_the_crps_of_clipped_values(rng, members, above):
    ensemble, truth = rng.standard_normal((members, 4, 9)), rng.standard_normal((4, 9))
    threshold = 0.5 * rng.standard_normal((4, 9))
    ordered = np.sort(ensemble - truth, axis=0).reshape(members, -1)
    every = np.ones((4, 9), bool)
    found = np.empty((2, 1, 4))
    tail_sums(ordered, truth, threshold, above, every, every[:1], (0, 4), found)
    clip = np.maximum if above else np.minimum
    x, y = clip(ensemble, threshold), clip(truth, threshold)
    standard = properscoring.crps_ensemble(y, x, axis=0)
    np.testing.assert_allclose(found[1, 0], standard.sum(axis=-1), rtol=1e-12)
    if members == 1:
        assert np.isnan(found[0]).all()
    else:
        near = np.abs(x - y).mean(axis=0)
        np.testing.assert_allclose(
            found[0, 0], (near - (near - standard) * members / (members - 1)).sum(axis=-1), rtol=1e-9, atol=1e-12
        )


def test_a_threshold_that_is_missing_gives_nan_and_only_in_its_row(rng):
    ensemble, truth = rng.standard_normal((3, 2, 5)), rng.standard_normal((2, 5))
    threshold = np.zeros((2, 5))
    threshold[1, 2] = np.nan
    every, found = np.ones((2, 5), bool), np.empty((2, 1, 2))
    tail_sums(np.sort(ensemble - truth, axis=0).reshape(3, -1), truth, threshold, True, every, every[:1], (0, 2), found)
    assert np.isfinite(found[..., 0]).all()
    assert np.isnan(found[..., 1]).all()


def test_regions_of_other_columns_have_sums_of_their_own(rng):
    block = make_block(rng, 4)
    tables = QuantileEvents(QUANTILES).of_block(block)["event_forecasts"]
    np.testing.assert_allclose(tables.sum(axis=-1), np.broadcast_to(block.weight[:, None], (len(AREAS.regions), 2)))
