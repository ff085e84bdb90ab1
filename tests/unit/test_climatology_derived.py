"""Climatology of what is derived: speeds on levels, sums over 24 h, dry shares and heavy amounts; against loops."""

import numpy as np
import pandas as pd
import pytest
from makers import analysis_dataset, run_values, times, write_store

from fuxi_ens.channels import DRY_MM
from fuxi_ens.config import Config
from fuxi_ens.data.climatology.categories import categories
from fuxi_ens.data.climatology.run import make_climatology
from fuxi_ens.data.climatology.window import window_weights
from fuxi_ens.stores.climatology import open_climatology
from fuxi_ens.times import hours

CHANNELS = ("z500", "u500", "u850", "v500", "v850", "tp")
SCORED = ("z500", "ws850", "tp", "tp24")
WHEN = times("2016-01-01", "2016-12-31T18")
HALF = 30


@pytest.fixture(scope="module")
def analysis():
    return analysis_dataset(CHANNELS, WHEN)


def config_of(folder, store, scores):
    values = run_values(folder)
    values["data"] |= {"store": store, "train": [{"start": "2016-01-01", "end": "2016-12-31T18:00"}]}
    values["model"]["channels"] = values["forecast"]["channels"] = list(CHANNELS)
    values["verify"] |= {"channels": list(SCORED), "scores": scores}
    values["report"] |= {"plume_channels": ["z500"]}
    values["climatology"] = {"quantiles": [0.9], "quantile_channels": ["u850", "v850", "tp"]}
    return Config.model_validate(values)


@pytest.fixture(scope="module")
def config(tmp_path_factory, analysis):
    folder = tmp_path_factory.mktemp("derived")
    store = write_store(analysis, folder / "analysis.zarr", zarr_format=2, chunk=200)
    return config_of(folder, store, ["ensemble", "seeps"])


@pytest.fixture(scope="module")
def made(config):
    return open_climatology(str(make_climatology(config)))


def samples(analysis, name, day, hour):
    """All samples of the window in one leap year, [sample, latitude, longitude], with their weights."""
    rows, weights = [], []
    for k in range(-HALF, HALF + 1):
        when = np.datetime64(pd.Timestamp("2016-01-01") + pd.Timedelta(days=(day - 1 + k) % 366, hours=hour), "ns")
        value = at(analysis, name, when)
        if value is not None:
            rows.append(value)
            weights.append(1.0 - abs(k) / HALF)
    return np.stack(rows), np.array(weights)


def at(analysis, name, when):
    """A field in float64; None for a sum that begins before the store."""
    if name == "ws850":
        u, v = (analysis[f"{part}_component_of_wind"].sel(level=850, time=when).values for part in "uv")
        return np.hypot(u, v).astype(np.float64)
    ends = [when - hours(back) for back in ((0,) if name == "tp" else (0, 6, 12, 18))]
    if ends[-1] < WHEN[0]:
        return None
    return sum(analysis["total_precipitation_6hr"].sel(time=end).values.astype(np.float64) for end in ends)


@pytest.mark.parametrize("name", ["ws850", "tp24"])
@pytest.mark.parametrize(("date", "day"), [("2020-01-05T06", 5), ("2020-07-01T12", 183), ("2020-12-31", 366)])
def test_means_are_those_of_loops(analysis, made, name, date, day):
    when = np.array([date], "datetime64[ns]")
    rows, weights = samples(analysis, name, day, pd.Timestamp(date).hour)
    mean = np.tensordot(weights, rows, 1) / weights.sum()
    # Fields are float32.
    np.testing.assert_allclose(made.mean(name, when)[0], mean, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["tp", "tp24"])
@pytest.mark.parametrize(("date", "day"), [("2020-01-05T06", 5), ("2020-07-01T12", 183)])
def test_dry_shares_and_heavy_amounts_are_those_of_loops(analysis, made, name, date, day):
    when = np.array([date], "datetime64[ns]")
    rows, weights = samples(analysis, name, day, pd.Timestamp(date).hour)
    dry = rows <= DRY_MM[name] * 1e-3
    array = made.dataset[f"total_precipitation_{'6hr' if name == 'tp' else '24hr'}_seeps_dry_fraction"]
    got = array.sel(hour=pd.Timestamp(date).hour, dayofyear=day).transpose("latitude", "longitude")
    np.testing.assert_allclose(got, np.tensordot(weights, dry, 1) / weights.sum(), atol=1e-6)
    heavy = made.heavy_amount(name, when)[0]
    for i, j in np.ndindex(heavy.shape):
        wet = ~dry[:, i, j]
        wanted = quantile(rows[wet, i, j], weights[wet]) if weights[wet].sum() else np.nan
        np.testing.assert_allclose(heavy[i, j], wanted, rtol=1e-5)


def quantile(values, weights, q=2 / 3):
    """Type 7 with Kish's effective sample size (verification.md 5.1)."""
    order = np.argsort(values)
    n = weights.sum() ** 2 / (weights**2).sum()
    cumulated = np.concatenate([[0.0], np.cumsum(weights[order]) / weights.sum()])
    return (values[order] * np.diff(np.clip(cumulated * n - (n - 1) * q, 0, 1))).sum()


def test_the_dry_share_of_a_year_is_the_mean_over_days_and_hours(made):
    array = made.dataset["total_precipitation_24hr_seeps_dry_fraction"].transpose("latitude", "longitude", ...)
    np.testing.assert_allclose(made.dry_fraction("tp24"), array.mean(["hour", "dayofyear"]), rtol=1e-6)


def test_quantiles_of_derived_names_follow_those_of_their_channels(made):
    when = np.array(["2020-07-01T12"], "datetime64[ns]")
    assert (made.quantile("tp24", 0.9, when) >= 0).all()
    assert (made.quantile("ws850", 0.9, when) > made.mean("ws850", when)).mean() > 0.9


@pytest.mark.parametrize(
    ("values", "share", "heavy"),
    [
        # A day alone: two of four are dry, a third of the two wet ones from 1 + 2/3 on.
        ([0.0, 0.25, 1.0, 2.0], 0.5, 1 + 2 / 3),
        ([0.0, 0.0, 0.0, 0.0], 1.0, np.nan),
        ([np.nan, np.nan, 1.0, 4.0], 0.0, 3.0),
        ([np.nan] * 4, np.nan, np.nan),
    ],
)
def test_categories_by_hand(values, share, heavy):
    samples = np.repeat(np.array(values, np.float32)[None, :, None], 366, axis=0)
    got = categories(samples, window_weights(1), DRY_MM["tp24"])
    np.testing.assert_allclose([part[100, 0] for part in got], [share, heavy], rtol=1e-6)


def test_what_is_not_scored_is_not_made(tmp_path, config):
    plain = config_of(tmp_path, config.data.store, ["ensemble"])
    assert plain.climatology_categories == ()
    assert config.climatology_categories == ("tp", "tp24")
    assert config.climatology_derived == ("ws850", "tp24")
