"""The window and its statistics against closed forms and against xarray's weighted statistics."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from fuxi_ens.data.climatology.plan import Dates
from fuxi_ens.data.climatology.quantile import quantiles
from fuxi_ens.data.climatology.window import mean_and_std, window_weights
from fuxi_ens.times import time_range

PROBABILITIES = np.array([0.01, 0.05, 0.3, 0.5, 0.9, 0.99])


def test_weights_rise_from_zero_to_one_and_fall_again():
    np.testing.assert_allclose(
        window_weights(61), np.concatenate([np.linspace(0, 1, 31), np.linspace(1, 0, 31)[1:]]), atol=1e-15
    )
    assert window_weights(3).tolist() == [0, 1, 0]
    assert window_weights(1).tolist() == [1]


def windowed(samples, days):
    """[day, year, point] with a dimension `window`, days of the year being a circle."""
    array = xr.DataArray(samples, dims=("day", "year", "point"))
    half = days // 2
    padded = array.pad(day=half, mode="wrap") if half else array
    return padded.rolling(day=days, center=True).construct("window").isel(day=slice(half, 366 + half))


@pytest.fixture
def samples(rng):
    values = (280.0 + 5.0 * rng.standard_normal((366, 3, 4))).astype(np.float32)
    values[np.arange(366) % 4 > 0, 1, 0] = np.nan
    values[100:200, :, 1] = np.nan
    values[..., 3] = np.round(values[..., 3])  # ties
    values[:365, 2] = values[0, 2]
    return values


@pytest.mark.parametrize("days", [1, 3, 61, 181])
def test_quantiles_are_those_of_xarray(samples, days):
    weights = window_weights(days)
    wanted = windowed(samples, days).weighted(xr.DataArray(weights, dims="window"))
    wanted = wanted.quantile(PROBABILITIES, dim=("window", "year"), skipna=True).transpose("quantile", "day", "point")
    np.testing.assert_allclose(quantiles(samples, weights, PROBABILITIES), wanted.values, rtol=2e-7)


@pytest.mark.parametrize("days", [1, 3, 61, 181])
def test_mean_and_std_are_those_of_xarray(samples, days):
    exact = samples.astype(np.float64)
    count = np.isfinite(exact).sum(axis=1)
    mean = np.where(count > 0, np.nansum(exact, axis=1) / np.maximum(count, 1), 0.0)
    squares = np.nansum((exact - mean[:, None]) ** 2, axis=1)
    weights = window_weights(days)
    got = mean_and_std(*(np.asarray(a, np.float32) for a in (count, mean, squares)), weights)
    weighted = windowed(exact, days).weighted(xr.DataArray(weights, dims="window"))
    np.testing.assert_allclose(got[0], weighted.mean(("window", "year")).values, rtol=3e-7)
    np.testing.assert_allclose(got[1], weighted.std(("window", "year")).values, rtol=1e-5, atol=1e-4)


def test_a_cosine_through_the_year_is_damped_as_the_window_says():
    """One value per day, A cos(2 pi d / 366): mean T(1) A cos(...), second moment A**2 / 2 (1 + T(2) cos(2 ...))."""
    phase, weights, amplitude = 2 * np.pi * np.arange(366) / 366, window_weights(61), 20.0
    k = np.arange(-30, 31)
    damping = [float((weights * np.cos(2 * np.pi * harmonic * k / 366)).sum() / weights.sum()) for harmonic in (1, 2)]
    ones = np.ones((366, 1), np.float32)
    values = (5.5e4 + amplitude * np.cos(phase))[:, None].astype(np.float32)
    mean, std = mean_and_std(ones, values, 0 * ones, weights)
    np.testing.assert_allclose(mean[:, 0] - 5.5e4, damping[0] * amplitude * np.cos(phase), atol=4e-3)
    second = 0.5 * (1 + damping[1] * np.cos(2 * phase))
    wanted = amplitude * np.sqrt(second - (damping[0] * np.cos(phase)) ** 2)
    np.testing.assert_allclose(std[:, 0], wanted, atol=4e-3)


@given(st.integers(0, 365), st.floats(-50, 50), st.integers(1, 4))
def test_turning_the_year_turns_the_result(days, offset, years):
    rng = np.random.default_rng(years)
    values = (offset + rng.standard_normal((366, years, 1))).astype(np.float32)
    weights = window_weights(21)
    turned = quantiles(np.roll(values, days, axis=0), weights, PROBABILITIES)
    np.testing.assert_allclose(turned, np.roll(quantiles(values, weights, PROBABILITIES), days, axis=1), atol=1e-5)


def test_quantiles_of_a_constant_are_the_constant():
    values = np.full((366, 2, 1), 271.25, np.float32)
    assert set(np.unique(quantiles(values, window_weights(61), PROBABILITIES))) == {np.float32(271.25)}


def test_day_366_of_a_common_year_is_its_day_365():
    used = time_range(np.datetime64("2015-01-01"), np.datetime64("2016-12-31T18"), np.timedelta64(6, "h"))
    dates = Dates.of(used, (0, 6, 12, 18))
    assert dates.present.all()
    assert dates.times[1, 365].tolist() == np.array(["2015-12-31T06", "2016-12-31T06"], "M8[ns]").tolist()
    assert dates.times[3, 364].tolist() == np.array(["2015-12-31T18", "2016-12-30T18"], "M8[ns]").tolist()
    assert dates.times[0, 59].tolist() == np.array(["2015-03-01", "2016-02-29"], "M8[ns]").tolist()


def test_only_the_times_that_may_be_averaged_are_present():
    used = time_range(np.datetime64("2015-12-30"), np.datetime64("2016-01-02"), np.timedelta64(12, "h"))
    dates = Dates.of(used, (0, 12))
    found = np.unique(dates.times[dates.present])
    assert np.array_equal(found, used)
    assert dates.present.sum() == len(used) + 2  # 31 December 2015 stands for day 366 too
