"""Hersbach's decomposition: parts add up to the CRPS, extreme ensembles, ties and gaps; numbers of rank histograms."""

import numpy as np
import pytest
import xarray as xr
from score_blocks import cases, make_block, scores_of

from fuxi_ens.verify import scores
from fuxi_ens.verify.families.ensemble import EnsembleScores
from fuxi_ens.verify.families.hersbach import HersbachParts
from fuxi_ens.verify.families.ranks import Ranks
from fuxi_ens.verify.hersbach import decompose


def bin_lengths(members, truth):
    """Alpha and beta, each [M+1, ...] float64, of `members` [M, ...] and `truth` [...]; NaN in, NaN out."""
    shifted = np.sort(np.subtract(members, truth, dtype=np.float64), axis=0)
    # NaN is sorted last; one in a member must reach all bins.
    shifted += 0.0 * shifted[-1]
    low = np.concatenate([shifted[:1], shifted])
    high = np.concatenate([shifted, shifted[-1:]])
    # The truth is 0. The outer bins reach to the truth if it lies in them, and no further.
    low[0] = np.minimum(low[0], 0.0)
    high[-1] = np.maximum(high[-1], 0.0)
    return np.clip(0.0, low, high) - low, high - np.clip(0.0, low, high)


def parts(members, truth):
    """Decomposition of cases [M, case] with equal weights."""
    alpha, beta = (xr.DataArray(part.mean(axis=1), dims="bin") for part in bin_lengths(members, truth))
    below, not_above = (truth < members.min(axis=0)).mean(), (truth < members.max(axis=0)).mean()
    return [float(part) for part in decompose(alpha, beta, xr.DataArray(below), xr.DataArray(not_above))]


def standard_crps(members, truth):
    return float(
        scores.crps(xr.DataArray(members, dims=("number", "case")), xr.DataArray(truth, dims="case"), "standard").mean()
    )


@pytest.mark.parametrize("members", [1, 2, 9])
@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
def test_parts_add_up_to_the_standard_crps(rng, members, shift):
    x, y = rng.standard_normal((members, 80)), rng.standard_normal(80) + shift
    assert sum(parts(x, y)) == pytest.approx(standard_crps(x, y), rel=1e-12)


def test_lengths_are_those_of_hersbachs_table():
    alpha, beta = bin_lengths(np.array([[1.0], [2.0], [4.0]]), np.array([2.5]))
    assert alpha[:, 0].tolist() == [0.0, 1.0, 0.5, 0.0]
    assert beta[:, 0].tolist() == [0.0, 0.0, 1.5, 0.0]


@pytest.mark.parametrize(("truth", "alpha", "beta"), [(0.0, [0, 0, 0], [1, 1, 0]), (5.0, [0, 1, 3], [0, 0, 0])])
def test_outliers_fill_the_outer_bins(truth, alpha, beta):
    lengths = bin_lengths(np.array([[1.0], [2.0]]), np.array([truth]))
    assert [part[:, 0].tolist() for part in lengths] == [alpha, beta]


def test_ties_of_dry_cases_cost_nothing(rng):
    x = np.maximum(rng.standard_normal((6, 200)), 0.0)
    y = np.maximum(rng.standard_normal(200), 0.0)
    assert sum(parts(x, y)) == pytest.approx(standard_crps(x, y), rel=1e-12)
    assert parts(np.zeros((6, 5)), np.zeros(5)) == [0.0, 0.0]


def test_reliability_of_a_calibrated_ensemble_vanishes(rng):
    x, y = rng.standard_normal((10, 100_000)), rng.standard_normal(100_000)
    reliability, potential = parts(x, y)
    # Of a finite ensemble the parts keep the 1/M of the standard estimator.
    assert reliability < 0.02 * potential
    assert parts(x + 1.0, y)[0] > 10 * reliability


def test_nan_reaches_all_lengths():
    for length in bin_lengths(np.array([[1.0, np.nan], [2.0, 3.0]]), np.array([np.nan, 2.0])):
        assert np.isnan(length).all()


@pytest.mark.parametrize("region", [0, 1])
def test_family_decomposes_the_pooled_crps(rng, region):
    blocks = [make_block(rng, 6, day=day, holes=9 * day) for day in range(3)]
    result = scores_of(HersbachParts(), blocks)
    x, y, _, w = cases(blocks, region)
    near = np.abs(x - y[:, None]).mean(axis=1)
    apart = np.abs(x[:, :, None] - x[:, None]).mean(axis=(1, 2)) / 2
    total = result["hersbach_reliability"][region] + result["hersbach_potential"][region]
    assert total == pytest.approx(np.average(near - apart, weights=w), rel=1e-6)
    alpha, beta = (xr.DataArray(np.average(part, weights=w, axis=1), dims="bin") for part in bin_lengths(x.T, y))
    outside = [xr.DataArray(np.average(y < edge, weights=w)) for edge in (x.min(axis=1), x.max(axis=1))]
    reliability = decompose(alpha, beta, *outside).reliability
    assert result["hersbach_reliability"][region] == pytest.approx(float(reliability), rel=1e-6)


@pytest.mark.parametrize("members", [4, 9])
def test_outliers_of_an_exchangeable_ensemble_are_two_in_m_plus_one(rng, members):
    result = scores_of(Ranks(), [make_block(rng, members, day=day) for day in range(200)])
    assert result["outlier_fraction"][0] == pytest.approx(2 / (members + 1), rel=0.05)
    assert result["rank_reliability_index"][0] < 0.05


def test_numbers_of_a_histogram_by_hand(rng):
    block = make_block(rng, 4)
    block.truth[:] = block.ensemble.max(axis=0) + 1
    result = scores_of(Ranks(), [block], (EnsembleScores(),))
    assert result["outlier_fraction"].tolist() == pytest.approx([1.0, 1.0])
    assert result["rank_reliability_index"].tolist() == pytest.approx([0.8 + 4 * 0.2] * 2)
