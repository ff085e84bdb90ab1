"""Our scores beside those of xskillscore and scores on the same fields: the same estimator is the same number."""

import operator

import numpy as np
import pytest
import xarray as xr
from score_blocks import cases, make_block, scores_of

from fuxi_ens.verify import events, scores
from fuxi_ens.verify.families.ensemble import EnsembleScores
from fuxi_ens.verify.families.events import QuantileEvents
from fuxi_ens.verify.families.ranks import Ranks
from fuxi_ens.verify.families.tails import Tails
from fuxi_ens.verify.tails import threshold_weighted_crps

MEMBERS, POINTS = 7, 200
THRESHOLD = 0.8
ESTIMATORS = [("standard", "ecdf"), ("fair", "fair")]
"""Our name of the estimator and that of scores"""
BETWEEN = ((np.arange(MEMBERS + 2) - 0.5) / MEMBERS).tolist()
"""Limits between the probabilities k / M, so that rounding decides nothing"""


@pytest.fixture
def case(rng):
    """Members and truth with a common signal, in steps of 0.1: some values equal each other and the threshold."""
    signal = rng.standard_normal(POINTS)
    members = signal + 0.7 * rng.standard_normal((MEMBERS, POINTS))
    truth = signal + 0.7 * rng.standard_normal(POINTS)
    forecast = xr.DataArray(np.round(members, 1), dims=("number", "point"))
    return forecast, xr.DataArray(np.round(truth, 1), dims="point")


@pytest.fixture
def weights(rng):
    return xr.DataArray(rng.uniform(0.2, 2.0, POINTS), dims="point")


@pytest.fixture
def blocks(rng):
    return [make_block(rng, MEMBERS, day=day, holes=5) for day in range(3)]


@pytest.fixture
def pooled(blocks):
    """All cases of `blocks` on the globe: forecast, truth, climatological mean and weights."""
    members, *others = cases(blocks)
    return xr.DataArray(members, dims=("point", "number")), *(xr.DataArray(part, dims="point") for part in others)


def event_of(forecast, truth):
    """Probabilities and outcomes of values above the threshold."""
    return (forecast > THRESHOLD).mean("number"), truth > THRESHOLD


def tables_of(case, weights=None):
    forecast, truth = case
    return events.tables(forecast, truth, THRESHOLD, xr.ones_like(truth) if weights is None else weights)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_values_of_the_case_equal_each_other_and_the_threshold(case):
    forecast, truth = case
    assert (forecast == truth).any()
    assert (forecast == THRESHOLD).any()
    assert (truth == THRESHOLD).any()


def test_standard_crps_is_that_of_xskillscore(xskillscore, case):
    forecast, truth = case
    expected = xskillscore.crps_ensemble(truth, forecast, member_dim="number", dim=[])
    close(scores.crps(forecast, truth, "standard"), expected)


@pytest.mark.parametrize(("estimator", "method"), ESTIMATORS)
def test_crps_is_that_of_scores(probability, case, estimator, method):
    expected = probability.crps_for_ensemble(*case, "number", method=method, preserve_dims="all")
    close(scores.crps(*case, estimator), expected)


@pytest.mark.parametrize(("estimator", "method"), ESTIMATORS)
@pytest.mark.parametrize("tail", ["upper", "lower"])
def test_threshold_weighted_crps_is_that_of_scores(probability, case, estimator, method, tail):
    expected = probability.tail_tw_crps_for_ensemble(
        *case, "number", THRESHOLD, tail=tail, method=method, preserve_dims="all"
    )
    limits = {"lower" if tail == "upper" else "upper": THRESHOLD}
    close(threshold_weighted_crps(*case, estimator=estimator, **limits), expected)


@pytest.mark.parametrize("fair", [False, True])
def test_brier_score_is_that_of_xskillscore(xskillscore, case, weights, fair):
    forecast, truth = case
    outcome = truth > THRESHOLD
    inside = (forecast > THRESHOLD).astype(float)
    arguments = {"member_dim": "number", "fair": fair}
    close(scores.brier(*case, THRESHOLD, fair), xskillscore.brier_score(outcome, inside, dim=[], **arguments))
    mean = xskillscore.brier_score(outcome, inside, dim="point", weights=weights, **arguments)
    close(events.brier_score(tables_of(case, weights), fair), mean)


def test_standard_brier_score_is_the_threshold_brier_score_of_xskillscore(xskillscore, case):
    forecast, truth = case
    expected = xskillscore.threshold_brier_score(truth, forecast, THRESHOLD, member_dim="number", dim=[])
    close(scores.brier(forecast, truth, THRESHOLD, fair=False), expected)


@pytest.mark.parametrize("fair", [False, True])
def test_brier_score_is_that_of_scores(probability, case, weights, fair):
    arguments = {"fair_correction": fair, "event_threshold_operator": operator.gt}
    expected = probability.brier_score_for_ensemble(*case, "number", THRESHOLD, preserve_dims="all", **arguments)
    close(scores.brier(*case, THRESHOLD, fair), expected.squeeze("threshold"))
    mean = probability.brier_score_for_ensemble(*case, "number", THRESHOLD, weights=weights, **arguments)
    close(events.brier_score(tables_of(case, weights), fair), mean.squeeze("threshold"))


def test_errors_of_the_mean_are_those_of_both(xskillscore, continuous, case, weights):
    forecast, truth = case
    mean = forecast.mean("number")
    rmse = np.sqrt(scores.squared_error_of_mean(*case).weighted(weights).mean())
    mae = scores.absolute_error_of_mean(*case).weighted(weights).mean()
    bias = scores.error_of_mean(*case).weighted(weights).mean()
    close(rmse, xskillscore.rmse(mean, truth, dim="point", weights=weights))
    close(rmse, continuous.rmse(mean, truth, weights=weights))
    close(mae, xskillscore.mae(mean, truth, dim="point", weights=weights))
    close(mae, continuous.mae(mean, truth, weights=weights))
    close(bias, xskillscore.me(mean, truth, dim="point", weights=weights))
    close(bias, continuous.mean_error(mean, truth, weights=weights))


def test_rank_histogram_without_ties_is_that_of_xskillscore(xskillscore, rng):
    forecast = xr.DataArray(rng.standard_normal((MEMBERS, POINTS)), dims=("number", "point"))
    truth = xr.DataArray(rng.standard_normal(POINTS), dims="point")
    expected = xskillscore.rank_histogram(truth, forecast, dim="point", member_dim="number")
    close(scores.rank_histogram(forecast, truth), expected)


def test_rank_histogram_with_ties_is_that_of_scores(probability, case, weights):
    expected = probability.rank_histogram(*case, "number", weights=weights)
    found = scores.rank_histogram(*case, weights)
    close(found / found.sum(), expected)


def test_reliability_curve_is_that_of_xskillscore(xskillscore, case):
    p, o = event_of(*case)
    expected = xskillscore.reliability(o, p, probability_bin_edges=np.array(BETWEEN))
    curve = events.reliability_curve(tables_of(case))
    close(curve["observed_frequency"], expected)
    close(curve["weight"] * POINTS, expected["samples"])


def test_roc_is_that_of_scores(probability, case, weights):
    p, o = event_of(*case)
    # scores adds the warnings always (0) and never (infinity) itself.
    expected = probability.roc_curve_data(p, o, BETWEEN[1:-1], weights=weights)
    table = tables_of(case, weights)
    hit, alarm = events.roc(table)
    close(hit[::-1], expected["POD"])
    close(alarm[::-1], expected["POFD"])
    close(events.roc_area(table), expected["AUC"])
    close(events.roc_area(table), probability.roc_auc(p, o, weights=weights))


def test_roc_area_is_that_of_xskillscore(xskillscore, case):
    p, o = event_of(*case)
    expected = xskillscore.roc(o.astype(float), p, bin_edges=np.array(BETWEEN), dim="point")
    close(events.roc_area(tables_of(case)), expected)


def test_relative_value_is_that_of_scores(probability, case, weights):
    p, o = event_of(*case)
    ratios = np.array([0.05, 0.2, 0.5])
    # Whoever always or never protects saves nothing; scores does not try.
    warned = probability.relative_economic_value(
        p, o, cost_loss_ratios=ratios, probability_thresholds=BETWEEN[1:-1], weights=weights
    )
    best = warned.max("probability_threshold").clip(min=0)
    close(events.relative_value(tables_of(case, weights), ratios), best)


def test_averages_of_a_scorecard_are_those_of_scores(probability, continuous, blocks, pooled):
    forecast, truth, _, weights = pooled
    mean = forecast.mean("number")
    expected = {
        "crps": probability.crps_for_ensemble(forecast, truth, "number", method="fair", weights=weights),
        "rmse": continuous.rmse(mean, truth, weights=weights),
        "mae": continuous.mae(mean, truth, weights=weights),
        "bias": continuous.mean_error(mean, truth, weights=weights),
    }
    found = scores_of(EnsembleScores(), blocks)
    assert {name: found[name][0] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-6, abs=1e-8
    )


def test_outliers_of_a_scorecard_are_those_of_scores(probability, blocks, pooled):
    forecast, truth, _, weights = pooled
    histogram = probability.rank_histogram(forecast, truth, "number", weights=weights)
    found = scores_of(Ranks(), blocks)
    close(found["outlier_fraction"][0], histogram[0] + histogram[-1])
    close(found["rank_reliability_index"][0], abs(histogram - 1 / (MEMBERS + 1)).sum())


@pytest.mark.parametrize(
    ("quantile", "label", "shift", "tail", "inside"),
    [(0.9, "above_q90", 1.28, "upper", operator.gt), (0.1, "below_q10", -1.28, "lower", operator.lt)],
)
def test_scores_of_quantile_events_on_a_scorecard_are_those_of_scores(
    probability, blocks, pooled, quantile, label, shift, tail, inside
):
    forecast, truth, climate, weights = pooled
    limit = (climate.astype(np.float32) + np.float32(shift)).astype(np.float64)
    tails, found = scores_of(Tails((quantile,)), blocks), scores_of(QuantileEvents((quantile,)), blocks)
    crps = probability.tail_tw_crps_for_ensemble(
        forecast, truth, "number", limit, tail=tail, method="fair", weights=weights
    )
    assert tails[f"crps_{label}"][0] == pytest.approx(float(crps), rel=1e-5)
    # scores takes one threshold for all points, so the event is that of the difference.
    brier = probability.brier_score_for_ensemble(
        forecast - limit, truth - limit, "number", 0.0, weights=weights, event_threshold_operator=inside
    )
    close(found[f"brier_{label}"][0], brier.squeeze("threshold"))
    p, o = inside(forecast, limit).mean("number"), inside(truth, limit)
    close(found[f"roc_area_{label}"][0], probability.roc_auc(p, o, weights=weights))
