"""Consistency bars: how often a reliable forecast lies inside them."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from fuxi_ens.verify.consistency import consistency
from fuxi_ens.verify.events import Tables, reliability_curve

MEMBERS, CLASSES = 10, 5


def tables_of(forecasts, occurrences, times=None):
    """Tables [init_time, count]."""
    times = pd.date_range("2018-01-01", periods=len(forecasts), freq="12h") if times is None else times
    coords = {"init_time": times}
    return Tables(*(xr.DataArray(part, coords, ("init_time", "count")) for part in (forecasts, occurrences)))


def autoregressive(rng, count, memory):
    noise = rng.standard_normal(count)
    for index in range(1, count):
        noise[index] = memory * noise[index - 1] + np.sqrt(1 - memory**2) * noise[index]
    return noise


def reliable(rng, count, memory=0.0, scatter=0.05):
    """Forecasts k / M whose event occurs that often on average; all points of an init time miss alike."""
    forecasts = rng.uniform(0.5, 1.5, (count, MEMBERS + 1))
    probability = np.arange(MEMBERS + 1) / MEMBERS
    share = probability + scatter * autoregressive(rng, count, memory)[:, None]
    return tables_of(forecasts, forecasts * share)


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_a_reliable_forecast_lies_inside_in_nineteen_of_twenty_trials(memory):
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(300):
        tables = reliable(rng, 120, memory)
        curve = reliability_curve(Tables(*(part.sum("init_time") for part in tables)), CLASSES)
        away = abs(curve["observed_frequency"] - curve["forecast_probability"])
        inside.append((away <= consistency(tables, CLASSES, 0.05)).to_numpy())
    # The standard error of 300 trials is 1.3 %; Geer's test itself is a little too narrow with memory.
    assert np.mean(inside, axis=0) == pytest.approx(0.95, abs=0.04)


def test_bars_of_equal_weights_are_those_of_a_mean():
    rng = np.random.default_rng(1)
    weight = np.ones((50, MEMBERS + 1))
    excess = np.repeat(rng.standard_normal((50, 1)), MEMBERS + 1, axis=1)
    found = consistency(tables_of(weight, weight * np.arange(MEMBERS + 1) / MEMBERS + excess), CLASSES, 0.05)
    plain = 2.01 * excess[:, 0].std(ddof=1) / np.sqrt(50)
    assert (found >= plain * 0.999).all()
    assert (found < 1.6 * plain).all()


@pytest.mark.parametrize("count", [1, 2])
def test_few_init_times_have_no_bars(rng, count):
    assert np.isnan(consistency(reliable(rng, count), CLASSES, 0.05)).all()


def test_irregular_init_times_have_no_bars(rng):
    tables = reliable(rng, 20)
    odd = pd.DatetimeIndex([*pd.date_range("2018-01-01", periods=19, freq="12h"), pd.Timestamp("2018-03-01T05:00")])
    moved = Tables(*(part.assign_coords(init_time=odd) for part in tables))
    assert np.isnan(consistency(moved, CLASSES, 0.05)).all()


def test_a_class_never_forecast_has_no_bar(rng):
    tables = reliable(rng, 30)
    never = Tables(*(part.where(part["count"] < 8, 0.0) for part in (p.assign_coords(count=range(11)) for p in tables)))
    found = consistency(never, CLASSES, 0.05)
    assert np.isfinite(found[:4]).all()
    assert np.isnan(found[4])


def test_pairs_outside_of_the_sample_do_not_count(rng):
    tables = reliable(rng, 40)
    longer = Tables(*(part.reindex(init_time=pd.date_range("2017-12-30", periods=60, freq="12h")) for part in tables))
    np.testing.assert_allclose(consistency(longer, CLASSES, 0.05), consistency(tables, CLASSES, 0.05), rtol=1e-9)
