"""Scores of event probabilities: brute force over cases, Mann-Whitney, decompositions, values by hand."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import mannwhitneyu

from fuxi_ens.verify import events, scores

CASES = 300


@pytest.fixture
def case(rng):
    signal = rng.standard_normal(CASES)
    forecast = xr.DataArray(signal + 0.7 * rng.standard_normal((7, CASES)), dims=("number", "point"))
    truth = xr.DataArray(signal + 0.7 * rng.standard_normal(CASES), dims="point")
    return forecast, truth, xr.DataArray(rng.uniform(0.2, 2.0, CASES), dims="point")


def plain(case, threshold=0.8, above=True):
    """Probabilities, outcomes and weights of every case."""
    forecast, truth, weights = case
    inside = (lambda values: values > threshold) if above else (lambda values: values < threshold)
    return inside(forecast).mean("number").values, inside(truth).values.astype(float), weights.values


@pytest.mark.parametrize("fair", [True, False])
def test_brier_score_is_the_average_of_the_point_scores(case, fair):
    forecast, truth, weights = case
    table = events.tables(forecast, truth, 0.8, weights)
    expected = scores.brier(forecast, truth, 0.8, fair).weighted(weights).mean()
    assert float(events.brier_score(table, fair)) == pytest.approx(float(expected), rel=1e-12)


def test_events_below_a_threshold_mirror_those_above(case):
    forecast, truth, weights = case
    below = events.tables(forecast, truth, -0.8, weights, above=False)
    mirrored = events.tables(-forecast, -truth, 0.8, weights)
    for one, other in zip(below, mirrored, strict=True):
        xr.testing.assert_identical(one, other)


def test_tables_add_over_parts_in_any_order(case):
    forecast, truth, weights = case
    whole = events.tables(forecast, truth, 0.8, weights)
    parts = [
        events.tables(*(values.isel(point=part) for values in (forecast, truth)), 0.8, weights.isel(point=part))
        for part in (slice(200, None), slice(0, 50), slice(50, 200))
    ]
    for total, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(total, sum(pieces), rtol=1e-13)


def test_event_is_strict_on_either_side():
    forecast, weight = xr.DataArray([[1.0], [1.0], [2.0], [0.0]], dims=("number", "p")), xr.DataArray([1.0], dims="p")
    # With >= three members of four would be in the event: 0.5625. One package does that by default.
    above = events.tables(forecast, xr.DataArray([0.0], dims="p"), 1.0, weight)
    below = events.tables(forecast, xr.DataArray([2.0], dims="p"), 1.0, weight, above=False)
    at = events.tables(forecast, xr.DataArray([1.0], dims="p"), 1.0, weight)
    assert [float(events.brier_score(table, fair=False)) for table in (above, below, at)] == [0.0625] * 3
    assert float(at.occurrences.sum()) == 0.0


def test_confident_large_ensemble_loses_to_calibrated_small_one_only_when_fair():
    # verification.md 9: the standard score ties what the fair one ranks.
    rng = np.random.default_rng(3)
    logit = rng.normal(-1.5, 1.2, 200_000)
    p = 1 / (1 + np.exp(-logit))
    bold = 1 / (1 + np.exp(-1.35 * logit))
    outcome = rng.random(p.size) < p
    results = {}
    for label, size, probability in (("bold", 50, bold), ("calibrated", 20, p)):
        count = rng.binomial(size, probability)
        table = events.Tables(
            *(xr.DataArray(np.bincount(count, w, size + 1), dims="count") for w in (np.ones(p.size), outcome))
        )
        results[label] = [float(events.brier_score(table, fair)) for fair in (False, True)]
    assert results["bold"][1] > results["calibrated"][1]
    assert results["bold"][0] - results["calibrated"][0] < results["bold"][1] - results["calibrated"][1]


def test_points_without_weight_may_be_nan_and_others_may_not(case):
    forecast, truth, weights = case
    truth = truth.where(np.arange(CASES) != 4)
    with pytest.raises(ValueError, match="weight 0"):
        events.tables(forecast, truth, 0.8, weights)
    masked = weights.where(np.arange(CASES) != 4, 0.0)
    keep = np.arange(CASES) != 4
    expected = events.tables(forecast[:, keep], truth[keep], 0.8, weights[keep])
    for one, other in zip(events.tables(forecast, truth, 0.8, masked), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


@pytest.mark.parametrize("reference", [0.1, None])
def test_skill_is_a_ratio_of_means_over_the_same_cases(case, reference):
    p, o, w = plain(case)
    table = events.tables(*case[:2], 0.8, case[2])
    constant = np.average(o, weights=w) if reference is None else reference
    expected = 1 - np.average((p - o) ** 2, weights=w) / np.average((constant - o) ** 2, weights=w)
    assert float(events.brier_skill(table, reference, fair=False)) == pytest.approx(expected, rel=1e-12)


def test_murphy_decomposition_adds_up_exactly(case):
    table = events.tables(*case[:2], 0.8, case[2])
    reliability, resolution, uncertainty = (float(part) for part in events.murphy(table))
    assert min(reliability, resolution, uncertainty) > 0
    score = float(events.brier_score(table, fair=False))
    assert reliability - resolution + uncertainty == pytest.approx(score, rel=1e-13)


def test_murphy_of_climatology_is_uncertainty_alone():
    table = events.Tables(
        xr.DataArray([0.0, 10.0, 0.0, 0.0, 0.0], dims="count"), xr.DataArray([0.0, 2.5, 0.0, 0.0, 0.0], dims="count")
    )
    assert [float(part) for part in events.murphy(table)] == [0.0, 0.0, 0.1875]


def test_reliability_curve_draws_at_the_mean_probability(case):
    p, o, w = plain(case)
    curve = events.reliability_curve(events.tables(*case[:2], 0.8, case[2]), classes=3)
    for index, (low, high) in enumerate([(0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.1)]):
        part = (p >= low - 1e-12) & (p < high - 1e-12)
        assert float(curve["forecast_probability"][index]) == pytest.approx(np.average(p[part], weights=w[part]))
        assert float(curve["observed_frequency"][index]) == pytest.approx(np.average(o[part], weights=w[part]))
        assert float(curve["weight"][index]) == pytest.approx(w[part].sum() / w.sum())


def test_reliability_class_of_three_tenths_is_the_fourth():
    ones = xr.DataArray(np.ones(11), dims="count")
    curve = events.reliability_curve(events.Tables(ones, 0 * ones), classes=10)
    np.testing.assert_allclose(curve["forecast_probability"], [*np.arange(9) / 10, 0.95])


def test_class_that_was_never_forecast_is_nan():
    table = events.Tables(xr.DataArray([5.0, 0.0, 5.0], dims="count"), xr.DataArray([0.0, 0.0, 5.0], dims="count"))
    assert np.isnan(events.reliability_curve(table)["observed_frequency"]).values.tolist() == [False, True, False]


def test_roc_holds_all_thresholds(case):
    p, o, w = plain(case)
    hit, alarm = events.roc(events.tables(*case[:2], 0.8, case[2]))
    assert hit["threshold"].values.tolist() == list(range(8, -1, -1))
    for j, h, f in zip(range(8, -1, -1), hit.values, alarm.values, strict=True):
        warned = p >= j / 7 - 1e-12
        assert h == pytest.approx(w[warned & (o == 1)].sum() / w[o == 1].sum(), abs=1e-12)
        assert f == pytest.approx(w[warned & (o == 0)].sum() / w[o == 0].sum(), abs=1e-12)


def test_roc_area_is_mann_whitney(case):
    p, o, _ = plain(case)
    area = float(events.roc_area(events.tables(*case[:2], 0.8, xr.ones_like(case[2]))))
    u = mannwhitneyu(p[o == 1], p[o == 0]).statistic / (o == 1).sum() / (o == 0).sum()
    assert area == pytest.approx(u, rel=1e-12)


@pytest.mark.parametrize(("hits", "area"), [([0.0, 0.0, 4.0], 1.0), ([2.0, 0.0, 2.0], 0.5)])
def test_roc_area_of_perfect_and_of_useless_forecasts(hits, area):
    table = events.Tables(xr.DataArray([4.0, 0.0, 4.0], dims="count"), xr.DataArray(hits, dims="count"))
    assert float(events.roc_area(table)) == area


def brute_value(p, o, w, a, members):
    rate = np.average(o, weights=w)
    climate = min(a, rate)
    expense = []
    for j in range(members + 2):
        warn = p >= j / members - 1e-12
        expense.append(np.average(np.where(warn, a, o), weights=w))
    return (climate - min(expense)) / (climate - a * rate)


def test_value_is_the_expense_saved_by_the_best_threshold(case):
    p, o, w = plain(case)
    ratios = np.geomspace(0.005, 0.95, 20)
    value = events.relative_value(events.tables(*case[:2], 0.8, case[2]), ratios)
    expected = [brute_value(p, o, w, a, 7) for a in ratios]
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)
    assert (value >= -1e-12).all()


def test_value_at_the_base_rate_is_the_largest_difference_of_rates(case):
    table = events.tables(*case[:2], 0.8, case[2])
    hit, alarm = events.roc(table)
    value = events.relative_value(table, np.array([float(table.base_rate)]))
    assert float(value[0]) == pytest.approx(float((hit - alarm).max()), rel=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1])
def test_impossible_ratios_are_refused(case, ratio):
    with pytest.raises(ValueError, match="between 0 and 1"):
        events.relative_value(events.tables(*case[:2], 0.8, case[2]), np.array([ratio]))


def test_event_that_never_occurred_has_no_rates_but_a_brier_score():
    table = events.Tables(xr.DataArray([3.0, 1.0, 0.0], dims="count"), xr.DataArray(np.zeros(3), dims="count"))
    assert float(events.brier_score(table, fair=False)) == 0.0625
    assert float(events.brier_score(table)) == 0.0
    assert np.isnan(events.roc_area(table))
    assert np.isnan(events.relative_value(table, np.array([0.1]))).all()
    assert np.isnan(events.brier_skill(table))


def test_empty_tables_are_nan():
    zero = xr.DataArray(np.zeros(4), dims="count")
    table = events.Tables(zero, zero)
    assert np.isnan(events.brier_score(table))
    assert np.isnan(table.base_rate)


def test_other_dimensions_are_kept(case):
    first, second = (events.tables(*case[:2], limit, case[2]) for limit in (0.2, 0.8))
    both = events.Tables(*(xr.concat(pair, "event") for pair in zip(first, second, strict=True)))
    for score in (events.brier_score, events.brier_skill, events.roc_area):
        np.testing.assert_allclose(score(both), [score(first), score(second)], rtol=1e-13)
