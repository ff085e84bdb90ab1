"""The family SEEPS against the score of one field after another, and against its definition."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from score_blocks import AREAS, GRID, REGION_NAMES, WEIGHTS, scores_of, statistics

from fuxi_ens.channels import DRY_MM
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.seeps import Seeps
from fuxi_ens.verify.precipitation import seeps

SHAPE = (GRID.height, GRID.width)


class WetAndDry:
    """A climatology with points too dry, too wet, without wet cases, and with a heavy amount that is dry."""

    def __init__(self, rng, dry):
        self.p = rng.uniform(0.05, 0.9, SHAPE).astype(np.float32)
        self.heavy = (dry * rng.uniform(0.9, 30, SHAPE)).astype(np.float32)
        self.heavy[0, :3] = np.nan

    def dry_fraction(self):
        return self.p

    def heavy_amount(self):
        return self.heavy


def make_block(rng, name="tp24", members=5, day=0, climate=None, holes=0):
    dry = DRY_MM[name] * 1e-3
    climate = climate or WetAndDry(rng, dry)
    ensemble = (dry * rng.gamma(0.5, 8, (members, *SHAPE))).astype(np.float32)
    truth = (dry * rng.gamma(0.5, 8, SHAPE)).astype(np.float32)
    # Amounts that lie on a bound, in members and truth.
    ensemble[0, 1], truth[1] = np.float32(dry), climate.heavy[1]
    ensemble[1, 2], truth[2] = climate.heavy[2], np.float32(dry)
    truth.flat[:holes] = np.nan
    init_time = np.datetime64("2019-01-10", "ns") + np.timedelta64(day, "D")
    lead_time = np.timedelta64(24, "h").astype("timedelta64[ns]")
    return Block(name, init_time, lead_time, ensemble, truth, AREAS, climate)


def one_by_one(block, fields):
    """Mean over the region of SEEPS of single fields, by the function for named dimensions; [region]."""
    dry = np.float32(DRY_MM[block.name] * 1e-3)
    climate = block.climatology
    arrays = [xr.DataArray(values, dims=("y", "x")) for values in (block.truth, climate.p, climate.heavy)]
    values = np.stack([seeps(xr.DataArray(field, dims=("y", "x")), *arrays, dry) for field in fields]).astype(float)
    known = np.isfinite(values[0])
    assert 0 < known.sum() < known.size
    return [np.average(values.mean(axis=0)[known], weights=weight[known]) for weight in WEIGHTS]


@pytest.mark.parametrize("name", ["tp", "tp24"])
@pytest.mark.parametrize("members", [1, 2, 5, 8])
def test_the_members_score_is_the_mean_of_single_scores(rng, name, members):
    block = make_block(rng, name, max(members, 2), holes=4)
    block = Block(
        name, block.init_time, block.lead_time, block.ensemble[:members], block.truth, AREAS, block.climatology
    )
    got = scores_of(Seeps(), [block])
    np.testing.assert_allclose(got["seeps_members"], one_by_one(block, block.ensemble), rtol=1e-6)


@pytest.mark.parametrize("members", [2, 3, 5, 8])
def test_the_median_score_is_that_of_the_sorted_member_in_the_middle(rng, members):
    block = make_block(rng, members=members, holes=4)
    middle = np.sort(block.ensemble, axis=0)[(members - 1) // 2]
    np.testing.assert_allclose(scores_of(Seeps(), [block])["seeps_median"], one_by_one(block, [middle]), rtol=1e-6)


def test_a_single_member_has_one_score(rng):
    block = make_block(rng, members=3)
    single = replace(block, ensemble=block.ensemble[:1])
    got = scores_of(Seeps(), [single])
    np.testing.assert_allclose(got["seeps_members"], got["seeps_median"], rtol=1e-12)


def test_a_perfect_ensemble_scores_zero(rng):
    block = make_block(rng)
    perfect = np.repeat(block.truth[None], 4, axis=0)
    block = replace(block, ensemble=perfect)
    for score in scores_of(Seeps(), [block]).values():
        np.testing.assert_array_equal(score, np.zeros(len(REGION_NAMES)))


def test_points_without_three_categories_have_no_weight(rng):
    block = make_block(rng, holes=2)
    climate = block.climatology
    dry = np.float32(DRY_MM["tp24"] * 1e-3)
    kept = (climate.p >= 0.1) & (climate.p <= 0.85) & (climate.heavy > dry) & ~np.isnan(block.truth)
    expected = [(weight * kept).sum() for weight in WEIGHTS]
    np.testing.assert_allclose(Seeps().of_block(block)["seeps_weight"], expected, rtol=1e-6)


def test_init_times_are_pooled_by_the_weight_of_the_points_that_are_kept(rng):
    blocks = [make_block(rng, day=day, holes=30 * day) for day in range(3)]
    parts = [Seeps().of_block(block) for block in blocks]
    expected = sum(part["seeps_of_members"] for part in parts) / sum(part["seeps_weight"] for part in parts)
    np.testing.assert_allclose(scores_of(Seeps(), blocks)["seeps_members"], expected, rtol=1e-12)


def test_other_names_have_no_rows(rng):
    block = make_block(rng)
    other = replace(block, name="z500")
    assert Seeps.scores(statistics(Seeps(), [other]))["seeps_members"].sizes["name"] == 0
