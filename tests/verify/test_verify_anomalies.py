"""Anomaly correlation in its variants, activity, threshold-weighted CRPS and scores of the wind vector."""

import numpy as np
import pytest
import scoringrules
import xarray as xr

from fuxi_ens.verify import scores
from fuxi_ens.verify.anomalies import anomaly_products, correlation
from fuxi_ens.verify.tails import threshold_weighted_crps
from fuxi_ens.verify.wind import squared_vector_error_of_mean, vector_crps, vector_variance

POINTS = 60


def field(values):
    dims = ("number", "point") if np.ndim(values) == 2 else ("point",)
    return xr.DataArray(values, dims=dims)


@pytest.fixture
def case(rng):
    climatology = 5.5e4 + 100 * rng.standard_normal(POINTS)
    truth = climatology + 30 * rng.standard_normal(POINTS)
    forecast = truth + 20 * rng.standard_normal((6, POINTS)) + 5
    return field(forecast), field(truth), field(climatology)


def products(forecast, truth, climatology):
    members = forecast.sizes["number"]
    return anomaly_products(
        scores.error_of_mean(forecast, truth), truth, climatology, scores.variance(forecast), members
    )


def averages(case):
    return {name: product.mean("point") for name, product in products(*case).items()}


def test_uncentered_correlation_is_the_cosine_of_the_anomalies(case):
    forecast, truth, climatology = (values.values for values in case)
    a, b = forecast.mean(axis=0) - climatology, truth - climatology
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert float(correlation(averages(case))) == pytest.approx(expected, rel=1e-10)


def test_centered_correlation_is_pearsons(case):
    forecast, truth, climatology = (values.values for values in case)
    a, b = forecast.mean(axis=0) - climatology, truth - climatology
    result = float(correlation(averages(case), centered=True))
    assert result == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-10)
    assert result != pytest.approx(float(correlation(averages(case))), rel=1e-3)


def test_mean_of_maps_and_pooled_correlation_differ():
    # Anomalies of a strong and a weak day: averaging products first gives the strong day its weight.
    a, b = xr.DataArray([[10.0, -10.0], [1.0, 1.0]], dims=("time", "point")), xr.DataArray([10.0, -10.0], dims="point")
    b = xr.concat([b, xr.DataArray([1.0, -1.0], dims="point")], "time")
    sums = {"anomaly_product": a * b, "anomaly_forecast_squared": a**2, "anomaly_truth_squared": b**2}
    per_map = correlation({name: part.mean("point") for name, part in sums.items()}).mean("time")
    pooled = correlation({name: part.mean() for name, part in sums.items()})
    assert float(per_map) == pytest.approx(0.5)
    assert float(pooled) == pytest.approx(100 / 101)


def test_activity_of_members_exceeds_that_of_their_mean(case):
    forecast, _, climatology = case
    result = products(*case)
    expected = ((forecast - climatology) ** 2).mean("number")
    np.testing.assert_allclose(result["anomaly_members_squared"], expected, rtol=1e-9)
    assert (result["anomaly_members_squared"] >= result["anomaly_forecast_squared"]).all()


def test_activity_of_one_member_is_that_of_the_mean(case):
    forecast, truth, climatology = case
    result = products(forecast[:1], truth, climatology)
    np.testing.assert_array_equal(result["anomaly_members_squared"], result["anomaly_forecast_squared"])


def test_anomalies_of_nan_are_nan_and_of_nothing_have_no_correlation(case):
    forecast, truth, climatology = case
    climatology = climatology.where(np.arange(POINTS) != 3)
    for product in products(forecast, truth, climatology).values():
        assert np.isnan(product).values.tolist() == [i == 3 for i in range(POINTS)]
    assert np.isnan(correlation(averages((forecast * 0 + truth, truth, truth))))


@pytest.mark.parametrize(("estimator", "theirs"), [("fair", "fair"), ("standard", "nrg")])
@pytest.mark.parametrize(("lower", "upper"), [(0.5, None), (None, -0.3), (-0.2, 0.8)])
def test_threshold_weighted_crps_is_scoringrules(rng, estimator, theirs, lower, upper):
    forecast, truth = field(rng.standard_normal((7, POINTS))), field(rng.standard_normal(POINTS))
    bounds = {"a": -np.inf if lower is None else lower, "b": np.inf if upper is None else upper}
    oracle = scoringrules.twcrps_ensemble(truth.values, forecast.values, m_axis=0, estimator=theirs, **bounds)
    result = threshold_weighted_crps(forecast, truth, lower, upper, estimator)
    np.testing.assert_allclose(result, oracle, rtol=1e-10, atol=1e-12)
    assert result.attrs == {"estimator": estimator, "members": 7}


@pytest.mark.parametrize("estimator", ["fair", "standard", "almost_fair"])
def test_both_sides_of_a_threshold_make_up_the_crps(rng, estimator):
    forecast, truth = field(rng.standard_normal((5, POINTS))), field(rng.standard_normal(POINTS))
    limit = field(rng.standard_normal(POINTS))
    above = threshold_weighted_crps(forecast, truth, lower=limit, estimator=estimator)
    below = threshold_weighted_crps(forecast, truth, upper=limit, estimator=estimator)
    np.testing.assert_allclose(above + below, scores.crps(forecast, truth, estimator), rtol=1e-10, atol=1e-13)


def test_threshold_weighted_crps_of_ties_and_dry_points_is_zero():
    forecast, truth = field(np.zeros((4, 3))), field(np.array([0.0, 0.0, 2.0]))
    assert threshold_weighted_crps(forecast, truth, lower=0.0).values.tolist() == [0.0, 0.0, 2.0]


def test_threshold_weighted_crps_keeps_nan_and_float32(rng):
    forecast, truth = field(np.ones((4, 4), np.float32)), field(np.array([0, 1, np.nan, 2], np.float32))
    limit = field(np.array([0.0, np.nan, 0.0, 0.0]))
    result = threshold_weighted_crps(forecast, truth, lower=limit)
    assert np.isnan(result).values.tolist() == [False, True, True, False]
    assert result.dtype == np.float32
    with pytest.raises(ValueError, match="needs lower or upper"):
        threshold_weighted_crps(forecast, truth)


def test_threshold_weighted_crps_stays_lazy(rng):
    forecast, truth = field(rng.standard_normal((5, POINTS))), field(rng.standard_normal(POINTS))
    lazy = threshold_weighted_crps(forecast.chunk(number=-1, point=20), truth.chunk(point=20), lower=0.1)
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), threshold_weighted_crps(forecast, truth, lower=0.1))


def wind(rng, members=6):
    forecast = tuple(field(rng.standard_normal((members, POINTS))) for _ in range(2))
    return forecast, tuple(field(rng.standard_normal(POINTS)) for _ in range(2))


@pytest.mark.parametrize("members", [2, 5, 6])
@pytest.mark.parametrize(("estimator", "theirs"), [("standard", "nrg"), ("fair", "fair")])
def test_vector_crps_is_the_energy_score_of_scoringrules(rng, members, estimator, theirs):
    forecast, truth = wind(rng, members)
    oracle = scoringrules.es_ensemble(
        np.stack([y.values for y in truth], axis=-1),
        np.stack([x.values.T for x in forecast], axis=-1),
        estimator=theirs,
    )
    np.testing.assert_allclose(vector_crps(forecast, truth, estimator), oracle, rtol=1e-12)


@pytest.mark.parametrize("estimator", ["fair", "standard"])
def test_vector_crps_of_one_component_is_the_crps(rng, estimator):
    (u, _), (y, _) = wind(rng)
    result = vector_crps((u, 0 * u), (y, 0 * y), estimator)
    np.testing.assert_allclose(result, scores.crps(u, y, estimator), rtol=1e-12)


def test_vector_crps_of_one_member_is_the_length_of_its_error(rng):
    (u, v), (p, q) = wind(rng, 1)
    result = vector_crps((u, v), (p, q), "standard")
    np.testing.assert_allclose(result, np.hypot(u[0] - p, v[0] - q), rtol=1e-12)
    with pytest.raises(ValueError, match="at least 2 members"):
        vector_crps((u, v), (p, q))


def test_vector_rmse_adds_the_components(rng):
    forecast, truth = wind(rng)
    parts = [scores.squared_error_of_mean(x, y) for x, y in zip(forecast, truth, strict=True)]
    np.testing.assert_allclose(squared_vector_error_of_mean(forecast, truth), parts[0] + parts[1], rtol=1e-12)
    spread = sum(np.var(x.values, axis=0, ddof=1) for x in forecast)
    np.testing.assert_allclose(vector_variance(forecast), spread, rtol=1e-12)


def test_winds_that_cancel_have_a_small_vector_error_and_a_large_error_of_speed():
    u, zero = field(np.array([[10.0], [-10.0]])), field(np.zeros(1))
    still = (zero, zero)
    assert float(squared_vector_error_of_mean((u, 0 * u), still)[0]) == 0.0
    assert float(scores.squared_error_of_mean(abs(u), zero)[0]) == 100.0


@pytest.mark.parametrize("score", [vector_crps, squared_vector_error_of_mean])
def test_nan_in_a_component_is_nan(rng, score):
    (u, v), (p, q) = wind(rng)
    v[1, 2] = np.nan
    q[5] = np.nan
    assert np.flatnonzero(np.isnan(score((u, v), (p, q)))).tolist() == [2, 5]


def test_vector_crps_stays_lazy(rng):
    forecast, truth = wind(rng)
    lazy = vector_crps(tuple(x.chunk(number=-1, point=20) for x in forecast), tuple(y.chunk(point=20) for y in truth))
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy.compute(), vector_crps(forecast, truth))
