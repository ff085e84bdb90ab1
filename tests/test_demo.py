"""The demo as a user runs it, and what its report claims: slow, because it is the whole chain."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    run = subprocess.run(
        [sys.executable, "-m", "pipelines", "demo", "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == f"open {out}/report/report.html"
    return out


@pytest.fixture(scope="module")
def table(demo):
    return pd.read_csv(demo / "report" / "scorecard.csv", low_memory=False)


def by_lead(table, system, score="crps"):
    rows = table.query(f"region == 'global' and score == '{score}' and system == '{system}'")
    return rows.pivot(index="lead_time_hours", columns="name", values="value")


def test_ensembles_are_complete_and_open_without_options(demo):
    forecast = xr.open_zarr(demo / "forecast.zarr")
    assert dict(forecast["2m_temperature"].sizes) == {
        "time": 4, "number": 20, "prediction_timedelta": 60, "latitude": 32, "longitude": 64
    }  # fmt: skip
    assert forecast["prediction_timedelta"].dtype.kind == "m"
    assert np.isfinite(forecast["2m_temperature"]).all()


def test_beats_persistence_from_day_2(table):
    ours, persistence = by_lead(table, "fuxi_ens"), by_lead(table, "persistence")
    assert (ours < persistence).loc[48:].all(axis=None)


def test_beats_climatology_on_day_1(table):
    ours, climatology = by_lead(table, "fuxi_ens"), by_lead(table, "climatology")
    assert (ours < climatology).loc[:24].all(axis=None)


def test_the_ensemble_is_worth_more_than_its_mean(table):
    assert (by_lead(table, "fuxi_ens") < by_lead(table, "fuxi_ens", "mae")).all(axis=None)


def test_spread_grows_with_lead_time(table):
    spread = by_lead(table, "fuxi_ens", "spread").drop(columns="tp")
    days = spread.rolling(4).mean().iloc[3::4]
    assert (days.iloc[4] > 1.5 * days.iloc[0]).all()
    # Saturated spread may waver; it never falls by more than a few percent from one day to the next.
    assert (days.diff().iloc[1:] > -0.05 * days.iloc[1:]).all(axis=None)


def test_no_lead_time_blows_up(table):
    ours, climatology = by_lead(table, "fuxi_ens"), by_lead(table, "climatology")
    assert (ours < 2.0 * climatology).all(axis=None)
