"""Theorems and oracles of the scores: brute force, closed forms, outside libraries."""

import itertools

import numpy as np
import properscoring
import pytest
import scoringrules
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba.np.ufunc.gufunc import GUFunc
from properscoring import _crps
from scipy.stats import norm

from fuxi_ens.verify import scores

ESTIMATORS = ("fair", "almost_fair", "standard")


def ensemble(rng, members=5, points=400, dtype=np.float64, offset=0.0, scale=1.0):
    shape = (members, points)
    forecast = (offset + scale * rng.standard_normal(shape)).astype(dtype)
    truth = (offset + scale * rng.standard_normal(points)).astype(dtype)
    return xr.DataArray(forecast, dims=("number", "point")), xr.DataArray(truth, dims="point")


def brute_force(members, truth, estimator, alpha=0.95):
    count = len(members)
    error = sum(abs(float(x) - float(truth)) for x in members) / count
    pairs = sum(abs(float(a) - float(b)) for a in members for b in members)
    standard = error - pairs / (2 * count**2)
    fair = error - pairs / (2 * count * (count - 1)) if count > 1 else float("nan")
    return {"standard": standard, "fair": fair, "almost_fair": alpha * fair + (1 - alpha) * standard}[estimator]


@pytest.fixture
def rng():
    return np.random.default_rng(2025)


@pytest.mark.parametrize(("members", "estimator"), [(1, "standard"), *itertools.product(range(2, 9), ESTIMATORS)])
def test_crps_is_the_brute_force_definition(rng, members, estimator):
    forecast, truth = ensemble(rng, members, points=30)
    expected = [brute_force(forecast[:, i].values, truth[i].values, estimator) for i in range(30)]
    result = scores.crps(forecast, truth, estimator)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-13)
    assert result.attrs == {"estimator": estimator, "members": members}


def test_properscoring_is_compiled():
    # The interpreted fallback needs O(M^2) memory: unusable at 0.25 degrees.
    assert isinstance(_crps._crps_ensemble_core, GUFunc)


@pytest.mark.parametrize("members", [1, 2, 8, 50])
def test_standard_crps_is_properscoring(rng, members):
    forecast, truth = ensemble(rng, members)
    engine = scores.crps(forecast, truth, "standard", engine="properscoring")
    oracle = properscoring.crps_ensemble(truth.values, forecast.values, axis=0)
    np.testing.assert_array_equal(engine, oracle)
    np.testing.assert_allclose(scores.crps(forecast, truth, "standard"), oracle, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("estimator", "theirs"), [("fair", "fair"), ("standard", "nrg")])
def test_crps_is_scoringrules(rng, estimator, theirs):
    forecast, truth = ensemble(rng, 11)
    oracle = scoringrules.crps_ensemble(truth.values, forecast.values, m_axis=0, estimator=theirs)
    np.testing.assert_allclose(scores.crps(forecast, truth, estimator), oracle, rtol=1e-10, atol=1e-12)


def test_crps_of_a_large_normal_ensemble_is_the_closed_form():
    quantiles = norm.ppf((np.arange(4000) + 0.5) / 4000)
    forecast, truth = xr.DataArray(quantiles, dims="number"), xr.DataArray(0.7)
    closed = 0.7 * (2 * norm.cdf(0.7) - 1) + 2 * norm.pdf(0.7) - 1 / np.sqrt(np.pi)
    assert float(scores.crps(forecast, truth, "standard")) == pytest.approx(closed, abs=1e-4)


def test_fair_crps_is_unbiased_in_the_number_of_members(rng):
    for members in (2, 5, 20):
        forecast, truth = ensemble(rng, members, points=200_000)
        fair = float(scores.crps(forecast, truth, "fair").mean())
        standard = float(scores.crps(forecast, truth, "standard").mean())
        # Standard error is about 0.0012; sigma / sqrt(pi) for truth and members of N(0, 1).
        assert fair == pytest.approx(1 / np.sqrt(np.pi), abs=0.006)
        assert standard == pytest.approx((1 + 1 / members) / np.sqrt(np.pi), abs=0.006)


def test_float32_geopotential_is_accurate(rng):
    forecast, truth = ensemble(rng, 50, dtype=np.float32, offset=5.5e4, scale=15.0)
    for estimator in ESTIMATORS:
        single = scores.crps(forecast, truth, estimator)
        double = scores.crps(forecast.astype(np.float64), truth.astype(np.float64), estimator)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-6, atol=15.0 * 1e-6)
    narrow = (5.5e4 + 0.1 * rng.standard_normal((50, 400))).astype(np.float32)
    narrow = xr.DataArray(narrow, dims=("number", "point"))
    np.testing.assert_allclose(scores.variance(narrow), np.var(narrow.values.astype(float), axis=0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("engine", ["sorted", "properscoring"])
def test_nan_in_nan_out(rng, engine):
    forecast, truth = ensemble(rng, 4, points=5)
    forecast[2, 1] = np.nan
    truth[3] = np.nan
    expected = [False, True, False, True, False]
    for result in (
        scores.crps(forecast, truth, "standard", engine=engine),
        scores.squared_error_of_mean(forecast, truth),
        scores.absolute_error_of_mean(forecast, truth),
        scores.brier(forecast, truth, 0.0),
    ):
        assert np.isnan(result).values.tolist() == expected
    assert np.isnan(scores.variance(forecast)).values.tolist() == [False, True, False, False, False]
    assert np.isnan(scores.spread_skill_ratio(forecast, truth))
    assert np.isnan(scores.rank_histogram(forecast, truth)).all()


values = st.floats(-1e3, 1e3, width=32)


@st.composite
def cases(draw):
    members = draw(st.integers(2, 9))
    return draw(arrays(np.float64, (members, 3), elements=values)), draw(arrays(np.float64, 3, elements=values))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_estimators_are_ordered_for_every_case(case):
    forecast, truth = xr.DataArray(case[0], dims=("number", "point")), xr.DataArray(case[1], dims="point")
    fair, almost, standard = (scores.crps(forecast, truth, estimator) for estimator in ESTIMATORS)
    error = abs(forecast - truth).mean("number")
    rounding = 1e-12 * (1 + abs(error) + abs(forecast).max("number"))
    assert (fair >= -rounding).all()
    assert (fair <= almost + rounding).all()
    assert (almost <= standard + rounding).all()
    assert (standard <= error + rounding).all()


@settings(max_examples=40, deadline=None)
@given(cases(), st.floats(-50, 50), st.randoms(use_true_random=False))
def test_member_order_is_irrelevant_and_scale_is_equivariant(case, factor, random):
    forecast, truth = xr.DataArray(case[0], dims=("number", "point")), xr.DataArray(case[1], dims="point")
    order = random.sample(range(len(case[0])), len(case[0]))
    for estimator in ESTIMATORS:
        result = scores.crps(forecast, truth, estimator)
        tolerance = 1e-10 * (1 + abs(factor)) * 2e3
        np.testing.assert_allclose(scores.crps(forecast[order], truth, estimator), result, atol=1e-9)
        scaled = scores.crps(factor * forecast + 3, factor * truth + 3, estimator)
        np.testing.assert_allclose(scaled, abs(factor) * result, atol=tolerance)


def test_fair_crps_forgives_one_wrong_member_and_standard_of_one_member_is_the_error():
    forecast, truth = xr.DataArray([2.0, 2.0, 2.0, 99.0], dims="number"), xr.DataArray(2.0)
    assert float(scores.crps(forecast, truth, "fair")) == pytest.approx(0.0, abs=1e-12)
    assert float(scores.crps(forecast[3:], truth, "standard")) == 97.0


def test_misuse_is_explained(rng):
    forecast, truth = ensemble(rng, 3)
    for estimator in ("fair", "almost_fair"):
        with pytest.raises(ValueError, match="at least 2 members"):
            scores.crps(forecast[:1], truth, estimator)
    with pytest.raises(ValueError, match="fair=False"):
        scores.brier(forecast[:1], truth, 0.0)
    with pytest.raises(ValueError, match="engine='sorted'"):
        scores.crps(forecast, truth, "fair", engine="properscoring")
    with pytest.raises(ValueError, match="number"):
        scores.crps(forecast.rename(number="member"), truth)
    labels = {"point": np.arange(400)}
    with pytest.raises(ValueError, match="point"):
        scores.squared_error_of_mean(forecast.assign_coords(labels), truth.assign_coords(point=np.arange(1, 401)))


def test_dask_stays_lazy_and_equal(rng):
    forecast, truth = ensemble(rng, 6)
    lazy = forecast.chunk(number=-1, point=100), truth.chunk(point=100)
    for score in (
        scores.crps,
        scores.squared_error_of_mean,
        scores.error_of_mean,
        scores.spread_skill_ratio,
        lambda x, y: scores.brier(x, y, 0.3),
        lambda x, y: scores.crps(x, y, "standard", engine="properscoring"),
        lambda x, y: scores.rank_histogram(x, y, dims=()),
    ):
        result = score(*lazy)
        assert result.chunks is not None
        xr.testing.assert_allclose(result.compute(), score(forecast, truth), rtol=1e-12)
    with pytest.raises(ValueError, match="chunk"):
        scores.crps(forecast.chunk(number=2), truth)


@pytest.mark.parametrize("members", [2, 10])
def test_spread_skill_of_an_exchangeable_ensemble_is_one(rng, members):
    forecast, truth = ensemble(rng, members, points=200_000)
    corrected = float(scores.spread_skill_ratio(forecast, truth))
    raw = corrected * np.sqrt(members / (members + 1))
    assert corrected == pytest.approx(1.0, abs=0.01)
    assert raw == pytest.approx(np.sqrt(members / (members + 1)), abs=0.01)


def test_spread_skill_takes_weights_and_roots_last(rng):
    forecast, truth = ensemble(rng, 4, points=3)
    weights = xr.DataArray([0.0, 1.0, 3.0], dims="point")
    spread = np.average(np.var(forecast.values, axis=0, ddof=1), weights=weights)
    skill = np.average((forecast.values.mean(axis=0) - truth.values) ** 2, weights=weights)
    assert float(scores.spread_skill_ratio(forecast, truth, weights)) == pytest.approx(np.sqrt(5 / 4 * spread / skill))


def test_rank_histogram_of_an_exchangeable_ensemble_is_flat(rng):
    forecast, truth = ensemble(rng, 9, points=50_000)
    counts = scores.rank_histogram(forecast, truth)
    assert float(counts.sum()) == 50_000
    # Chi-square with 9 degrees of freedom exceeds 27.9 in 0.1 % of cases.
    assert float(((counts - 5000) ** 2 / 5000).sum()) < 27.9


def test_rank_histogram_shares_ties_exactly_and_weighs():
    forecast = xr.DataArray([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 2.0, 9.0]], dims=("number", "point"))
    truth = xr.DataArray([0.0, 1.5, np.nan], dims="point")
    weights = xr.DataArray([2.0, 3.0, 0.0], dims="point")
    assert scores.rank_histogram(forecast, truth, weights).values.tolist() == [0.5, 0.5, 3.5, 0.5]
    each = scores.rank_histogram(forecast, truth, weights, dims=())
    assert each.dims == ("point", "rank")
    assert each.values.tolist() == [[0.5] * 4, [0, 0, 3, 0], [0] * 4]


@pytest.mark.parametrize(("fair", "estimator"), [(False, "standard"), (True, "fair")])
def test_brier_integrates_to_crps(fair, estimator):
    forecast, truth = xr.DataArray([0.0, 0.25, 0.25, 1.5], dims="number"), xr.DataArray(1.0)
    edges = np.unique([*forecast.values, 1.0])
    # The score is constant between the values, so midpoints integrate exactly.
    middles = xr.DataArray((edges[1:] + edges[:-1]) / 2, dims="threshold")
    integral = float((scores.brier(forecast, truth, middles, fair) * np.diff(edges)).sum())
    assert integral == pytest.approx(float(scores.crps(forecast, truth, estimator)), rel=1e-12)


def test_brier_event_is_strictly_above():
    forecast, truth = xr.DataArray([1.0, 1.0, 2.0, 0.0], dims="number"), xr.DataArray(1.0)
    assert float(scores.brier(forecast, truth, 1.0, fair=False)) == 0.0625
    assert np.isnan(scores.brier(forecast, truth, np.nan))


def test_fair_brier_counts_pairs():
    for hits, occurred in itertools.product(range(5), (0.0, 1.0)):
        forecast = xr.DataArray([1.0] * hits + [0.0] * (4 - hits), dims="number")
        misses = 4 - hits
        expected = misses * (misses - 1) / 12 if occurred else hits * (hits - 1) / 12
        assert float(scores.brier(forecast, xr.DataArray(occurred), 0.5)) == pytest.approx(expected, abs=1e-15)
