"""Energy and variogram score against scoringrules, and what they must and must not see."""

import numpy as np
import pytest
import scoringrules
import xarray as xr
from score_blocks import AREAS, WEIGHTS, make_block, scores_of

from fuxi_ens.verify import scores
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.families.multivariate import Multivariate
from fuxi_ens.verify.multivariate import LAGS, energy_scores, variogram_scores


@pytest.mark.parametrize("members", [2, 5])
@pytest.mark.parametrize("region", [0, 1])
@pytest.mark.parametrize("holes", [0, 17])
def test_energy_score_is_that_of_scoringrules_in_weighted_units(rng, members, region, holes):
    block = make_block(rng, members, holes=holes)
    used = (WEIGHTS[region] > 0) & block.valid
    scale = np.sqrt(WEIGHTS[region][used] / WEIGHTS[region][used].sum())
    x, y = block.ensemble[:, used].astype(float) * scale, block.truth[used].astype(float) * scale
    fair, standard = energy_scores(block.ensemble, block.truth, AREAS, block.valid)
    assert fair[region] == pytest.approx(float(scoringrules.es_ensemble(y, x, estimator="fair")), rel=1e-9)
    assert standard[region] == pytest.approx(float(scoringrules.es_ensemble(y, x, estimator="nrg")), rel=1e-9)


def test_energy_score_of_one_point_is_the_crps(rng):
    block = make_block(rng, 6)
    only = np.zeros_like(block.valid)
    only[3, 5] = True
    x, y = xr.DataArray(block.ensemble[:, 3, 5].astype(float), dims="number"), xr.DataArray(float(block.truth[3, 5]))
    for found, estimator in zip(
        energy_scores(block.ensemble, block.truth, AREAS, only), ("fair", "standard"), strict=True
    ):
        assert found[0] == pytest.approx(float(scores.crps(x, y, estimator)), rel=1e-9)


def test_energy_score_does_not_depend_on_the_order_of_members(rng):
    block = make_block(rng, 7)
    order = rng.permutation(7)
    for one, other in zip(
        energy_scores(block.ensemble, block.truth, AREAS, block.valid),
        energy_scores(block.ensemble[order], block.truth, AREAS, block.valid),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_fair_energy_score_forgives_one_wrong_member():
    truth = np.zeros((8, 16), np.float32)
    ensemble = np.zeros((4, 8, 16), np.float32)
    ensemble[3] = 7.0
    fair, standard = energy_scores(ensemble, truth, AREAS, np.ones((8, 16), bool))
    np.testing.assert_allclose(fair, 0.0, atol=1e-12)
    assert (standard > 0.1).all()


def test_region_without_truth_has_no_energy_score(rng):
    block = make_block(rng, 3)
    nowhere = np.zeros_like(block.valid)
    assert np.isnan(energy_scores(block.ensemble, block.truth, AREAS, nowhere)).all()


def variogram_weights(height, width, i):
    """Weights of scoringrules for the pairs of point i alone."""
    weights = np.zeros((height * width, height * width))
    row, column = divmod(i, width)
    for lag in LAGS:
        if lag < width:
            weights[i, row * width + (column + lag) % width] += 1 / lag
        if row + lag < height:
            weights[i, (row + lag) * width + column] += 1 / lag
    return weights


@pytest.mark.parametrize(("position", "estimator"), [(0, "fair"), (1, "nrg")])
def test_variogram_score_is_that_of_scoringrules(rng, position, estimator):
    ensemble, truth = rng.standard_normal((5, 4, 6)), rng.standard_normal((4, 6))
    found = variogram_scores(ensemble, truth)[position].ravel()
    for i in (0, 9, 17, 23):
        oracle = scoringrules.vs_ensemble(
            truth.ravel(), ensemble.reshape(5, -1), variogram_weights(4, 6, i), estimator=estimator
        )
        assert found[i] == pytest.approx(float(oracle), rel=1e-9)


def test_variogram_score_is_blind_to_bias_and_sees_smoothness(rng):
    x, y = rng.standard_normal((40, 8, 16)), rng.standard_normal((8, 16))
    plain = variogram_scores(x, y)[0].mean()
    assert variogram_scores(x + 3.0, y)[0].mean() == pytest.approx(plain, rel=1e-9)
    assert variogram_scores(0.3 * x, y)[0].mean() > 1.2 * plain


def test_variogram_pairs_without_truth_are_left_out(rng):
    x, y = rng.standard_normal((3, 8, 16)), rng.standard_normal((8, 16))
    whole = variogram_scores(x, y)[1]
    y[4, 8] = np.nan
    part = variogram_scores(x, y)[1]
    assert not np.isnan(part).any()
    changed = np.argwhere(part != whole)
    assert {tuple(point) for point in changed} <= {(4, c) for c in (8, 7, 6, 4, 0)} | {(r, 8) for r in (3, 2, 0)}
    assert (part <= whole + 1e-12).all()
    x[1, 0, 0] = np.nan
    assert np.isnan(variogram_scores(x, y)[1][0, 0])


@pytest.mark.parametrize("score", ["energy_score", "variogram_score"])
def test_family_averages_over_init_times(rng, score):
    blocks = [make_block(rng, 4, day=day, holes=3 * day) for day in range(3)]
    result = scores_of(Multivariate(), blocks)[score]
    weight = np.array([block.weight for block in blocks])
    if score == "energy_score":
        maps = np.array([energy_scores(b.ensemble, b.truth, AREAS, b.valid)[0] for b in blocks])
    else:
        maps = np.array([b.regional(variogram_scores(b.ensemble, b.truth)[0]) / b.weight for b in blocks])
    np.testing.assert_allclose(result, (maps * weight).sum(axis=0) / weight.sum(axis=0), rtol=1e-9)


def test_one_member_has_the_standard_scores_only(rng):
    block = make_block(rng, 1)
    sums = Multivariate().of_block(block)
    assert np.isnan(sums["energy_score_fair"]).all()
    assert np.isnan(sums["variogram_score_fair"]).all()
    error = np.average((block.ensemble[0] - block.truth).astype(float) ** 2, weights=WEIGHTS[0])
    assert sums["energy_score_standard"][0] / block.weight[0] == pytest.approx(np.sqrt(error), rel=1e-6)


def test_regions_that_share_columns_share_the_work():
    areas = Areas.of(("global", "tropics", "europe"), np.linspace(87.5, -87.5, 36), np.arange(0, 360, 5.0))
    assert len(areas.columns) == 2
