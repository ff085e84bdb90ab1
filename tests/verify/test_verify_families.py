"""Families of scores: sums of blocks, pooled, against a computation over all points in float64."""

from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import scoringrules
import xarray as xr
from score_blocks import REGION_NAMES, cases, make_block, scores_of, statistics

from fuxi_ens.channels import components
from fuxi_ens.config.fields import FamilyName
from fuxi_ens.errors import StoreError
from fuxi_ens.verify.families import FAMILIES
from fuxi_ens.verify.families.anomaly import Anomalies
from fuxi_ens.verify.families.ensemble import EnsembleScores
from fuxi_ens.verify.families.spread import Spread
from fuxi_ens.verify.families.tails import Tails
from fuxi_ens.verify.families.wind import VectorWind
from fuxi_ens.verify.leakage import averaged_periods, refuse_seen

REGIONS = range(len(REGION_NAMES))


@pytest.fixture
def blocks(rng):
    return [make_block(rng, day=day, holes=5 * day) for day in range(3)]


def pooled(values, weights):
    return np.average(values, weights=weights)


@pytest.mark.parametrize("region", REGIONS)
def test_anomaly_correlation_is_per_map_or_pooled(blocks, region):
    result = scores_of(Anomalies(), blocks)
    per_map, centered = [], []
    for block in blocks:
        x, y, c, w = cases([block], region)
        a, b = x.mean(axis=1) - c, y - c
        per_map.append(np.sum(w * a * b) / np.sqrt(np.sum(w * a**2) * np.sum(w * b**2)))
        a, b = a - pooled(a, w), b - pooled(b, w)
        centered.append(np.sum(w * a * b) / np.sqrt(np.sum(w * a**2) * np.sum(w * b**2)))
    x, y, c, w = cases(blocks, region)
    a, b = x.mean(axis=1) - c, y - c
    assert result["acc"][region] == pytest.approx(np.mean(per_map), rel=1e-6)
    assert result["acc_centered"][region] == pytest.approx(np.mean(centered), rel=1e-5)
    pooled_acc = np.sum(w * a * b) / np.sqrt(np.sum(w * a**2) * np.sum(w * b**2))
    assert result["acc_pooled"][region] == pytest.approx(pooled_acc, rel=1e-6)


def test_activity_is_a_root_of_mean_squares(blocks):
    result = scores_of(Anomalies(), blocks)
    x, y, c, w = cases(blocks)
    assert result["activity"][0] == pytest.approx(np.sqrt(pooled((x.mean(axis=1) - c) ** 2, w)), rel=1e-6)
    members = pooled(((x - c[:, None]) ** 2).mean(axis=1), w)
    assert result["activity_members"][0] == pytest.approx(np.sqrt(members), rel=1e-6)
    assert result["activity_truth"][0] == pytest.approx(np.sqrt(pooled((y - c) ** 2, w)), rel=1e-6)


def test_anomalies_of_geopotential_keep_their_digits(rng):
    blocks = [make_block(rng, offset=5.5e4)]
    x, y, c, w = cases(blocks)
    a, b = x.mean(axis=1) - c, y - c
    expected = np.sum(w * a * b) / np.sqrt(np.sum(w * a**2) * np.sum(w * b**2))
    assert scores_of(Anomalies(), blocks)["acc"][0] == pytest.approx(expected, rel=1e-6)


def test_a_family_without_climatology_says_what_it_needs(rng):
    block = make_block(rng)
    with pytest.raises(ValueError, match="came without climatology"):
        Anomalies().of_block(replace(block, climatology=None))


@pytest.mark.parametrize("region", REGIONS)
def test_ratios_of_spread_and_skill(blocks, region):
    result = scores_of(Spread(), blocks, (EnsembleScores(),))
    x, y, _, w = cases(blocks, region)
    variance, members = x.var(axis=1, ddof=1), x.shape[1]
    skill = pooled((x.mean(axis=1) - y) ** 2 - variance / members, w)
    assert result["spread_skill_unbiased"][region] == pytest.approx(np.sqrt(pooled(variance, w) / skill), rel=1e-5)
    apart = np.abs(x[:, :, None] - x[:, None]).sum(axis=(1, 2)) / (members * (members - 1))
    near = np.abs(x - y[:, None]).mean(axis=1)
    assert result["spread_skill_absolute"][region] == pytest.approx(pooled(apart, w) / pooled(near, w), rel=1e-5)


@pytest.mark.parametrize("members", [2, 5])
def test_ratios_of_an_exchangeable_ensemble_are_one(rng, members):
    result = scores_of(Spread(), [make_block(rng, members, day=day) for day in range(150)], (EnsembleScores(),))
    assert result["spread_skill_unbiased"][0] == pytest.approx(1.0, abs=0.03)
    assert result["spread_skill_absolute"][0] == pytest.approx(1.0, abs=0.02)


def test_one_member_has_no_spread(rng):
    assert scores_of(Spread(), [make_block(rng, 1)], (EnsembleScores(),)) == {}


@pytest.mark.parametrize(("quantile", "name", "shift"), [(0.9, "crps_above_q90", 1.28), (0.05, "crps_below_q5", -1.64)])
def test_tails_are_threshold_weighted_crps(blocks, quantile, name, shift):
    result = scores_of(Tails((quantile,)), blocks)
    x, y, c, w = cases(blocks)
    threshold = (c + shift)[:, None]
    limits = {"a": threshold[:, 0]} if quantile > 0.5 else {"b": threshold[:, 0]}
    oracle = [
        scoringrules.twcrps_ensemble(y[i], x[i], estimator="fair", **{side: t[i] for side, t in limits.items()})
        for i in range(len(y))
    ]
    assert result[name][0] == pytest.approx(pooled(oracle, w), rel=1e-5)


def wind_block(rng, day, members=4, speed_name="ws10m"):
    u, v = (make_block(rng, members, name, day=day) for name in components(speed_name))
    block = make_block(rng, members, speed_name, day=day)
    speed = np.hypot(u.ensemble, v.ensemble), np.hypot(u.truth, v.truth)
    return type(block)(speed_name, block.init_time, block.lead_time, *speed, block.areas, None, (u, v))


@pytest.mark.parametrize("name", ["ws10m", "ws100m", "ws850"])
def test_vector_wind_scores_both_components(rng, name):
    blocks = [wind_block(rng, day, speed_name=name) for day in range(2)]
    result = scores_of(VectorWind(), blocks)
    u, v = ([block.components[part] for block in blocks] for part in range(2))
    (xu, yu, _, w), (xv, yv, _, _) = cases(u), cases(v)
    squared = (xu.mean(axis=1) - yu) ** 2 + (xv.mean(axis=1) - yv) ** 2
    assert result["rmse_vector"][0] == pytest.approx(np.sqrt(pooled(squared, w)), rel=1e-6)
    spread = xu.var(axis=1, ddof=1) + xv.var(axis=1, ddof=1)
    assert result["spread_vector"][0] == pytest.approx(np.sqrt(pooled(spread, w)), rel=1e-6)
    oracle = scoringrules.es_ensemble(
        np.stack([yu, yv], axis=-1), np.stack([xu, xv], axis=-1), m_axis=1, estimator="fair"
    )
    assert result["crps_vector"][0] == pytest.approx(pooled(oracle, w), rel=1e-6)


def test_names_without_components_have_no_vector_scores(rng):
    for score in VectorWind.scores(statistics(VectorWind(), [make_block(rng)])).values():
        assert score.sizes["name"] == 0


def climatology(source, **attributes):
    return SimpleNamespace(source=source, dataset=xr.Dataset(attrs=attributes))


OURS = {"periods": "1990-01-01T00:00:00..2010-12-31T18:00:00, 2012-01-01T00:00:00..2017-12-31T18:00:00"}
SCORED = np.array(["2018-01-01", "2018-06-01"], dtype="datetime64[ns]")


@pytest.mark.parametrize(
    ("store", "years"),
    [
        (climatology("runs/x/climatology.zarr", **OURS), [(1990, 2010), (2012, 2017)]),
        (climatology("gs://bucket/era5-hourly-climatology/1990-2017_6h_64x32.zarr"), [(1990, 2017)]),
        (climatology("somewhere/1959-2023/climatology_0p25.zarr"), []),
    ],
)
def test_climatologies_say_which_years_they_average(store, years):
    assert [(start.year, end.year) for start, end in averaged_periods(store)] == years


def test_climatology_of_other_years_passes():
    assert refuse_seen(climatology("c.zarr", **OURS), SCORED, forced=False) == ""


@pytest.mark.parametrize(
    ("source", "message"),
    [("1990-2019_6h_64x32.zarr", "holds 2018-01-01.*1 other scored"), ("c.zarr", "does not say which years")],
)
def test_climatology_with_the_test_year_is_refused_unless_forced(source, message, caplog):
    with pytest.raises(StoreError, match=f"{message}.*allow_seen_climatology"):
        refuse_seen(climatology(source), SCORED, forced=False)
    caveat = refuse_seen(climatology(source), SCORED, forced=True)
    assert source in caveat
    assert caveat in caplog.text


def test_all_families_can_be_asked_for_and_have_sums_of_their_own():
    assert set(FAMILIES) == set(get_args(FamilyName))
    sums = [name for family in FAMILIES.values() for name in family.sums]
    assert len(set(sums)) == len(sums)
