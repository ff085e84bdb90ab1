"""Aggregation, comparison and counting, on statistics made by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from verify_world import GRID, hours

from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.families.ensemble import STATISTICS, EnsembleScores
from fuxi_ens.verify.files import read_statistics, statistics_path, write_statistics
from fuxi_ens.verify.scorecard import COLUMNS, scorecard, write_csv
from fuxi_ens.verify.wins import Wins, count_wins

DIMS = ("init_time", "name", "lead_time", "region")


def statistics(role, value=1.0, weight=None, members=3, truth="t", **attributes):
    """Sums over 4 init times, 2 names, 2 leads, one region; each statistic has the mean `value`."""
    weight = np.ones((4, 2, 2, 1)) if weight is None else weight
    data = xr.Dataset(
        {name: (DIMS, np.broadcast_to(value, weight.shape) * weight) for name in STATISTICS},
        {
            "init_time": pd.date_range("2019-01-01", periods=4),
            "lead_time": hours(6, 12),
            "name": ["z500", "tp"],
            "region": ["global"],
        },
    )
    data["weight"] = DIMS, weight
    data["members"] = ("init_time", "lead_time"), np.full((4, 2), members)
    described = {"system": role, "role": role, "estimator": "fair", "grid": "g", "weights": "w"}
    described |= {"truth": truth, "store": "s", "config_hash": "h"}
    return data.assign_attrs({**described, **attributes})


def values(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table["value"].to_numpy()


def test_table_columns_and_types(tmp_path):
    table = scorecard({"a": statistics("forecast"), "b": statistics("baseline")})
    assert tuple(table.columns) == COLUMNS
    assert table["lead_time"].dtype.kind == "m"
    write_csv(table, tmp_path / "scorecard.csv")
    assert set(pd.read_csv(tmp_path / "scorecard.csv")["lead_time_hours"]) == {6.0, 12.0}


def test_root_comes_after_the_mean_and_weights_pool():
    weight = np.array([1.0, 1.0, 2.0, 0.0]).reshape(4, 1, 1, 1) * np.ones((4, 2, 2, 1))
    per_init = np.array([1.0, 4.0, 9.0, np.nan]).reshape(4, 1, 1, 1)
    table = scorecard({"a": statistics("forecast", per_init, weight)})
    mean = (1 + 4 + 2 * 9) / 4
    np.testing.assert_allclose(values(table, score="crps"), mean)
    np.testing.assert_allclose(values(table, score="rmse"), np.sqrt(mean))
    np.testing.assert_allclose(values(table, score="spread"), np.sqrt(mean))
    np.testing.assert_allclose(values(table, score="spread_skill_ratio"), np.sqrt(4 / 3))
    assert set(table["n_init"]) == {3}


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(4)))
def test_order_of_init_times_is_irrelevant(order):
    value = np.array([1.0, 4.0, 9.0, 0.1]).reshape(4, 1, 1, 1)
    data = statistics("forecast", value)
    pd.testing.assert_frame_equal(
        scorecard({"a": data}), scorecard({"a": data.isel(init_time=list(order))}), rtol=1e-12
    )


@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(1, 15), max_size=4))
def test_sums_over_parts_add_to_the_whole(cuts):
    rng = np.random.default_rng(0)
    forecast = rng.standard_normal((3, 8, 16), dtype=np.float32)
    truth = rng.standard_normal((8, 16), dtype=np.float32)

    def sums(columns):
        areas = Areas.of(("global", "tropics"), GRID.latitude, GRID.longitude[columns])
        block = Block(
            "z500", np.datetime64("2020-01-01"), hours(6)[0], forecast[..., columns], truth[:, columns], areas
        )
        return np.array([*EnsembleScores().of_block(block).values(), block.weight])

    edges = [0, *sorted(cuts), 16]
    parts = [sums(slice(a, b)) for a, b in itertools.pairwise(edges)]
    # Parts of few points do not go through the compiled kernel: float32 per point, some of them of either sign.
    np.testing.assert_allclose(sum(parts), sums(slice(None)), rtol=1e-5, atol=1e-5)


def test_estimators_and_single_members():
    fair = statistics("forecast", 1.0)
    fair["crps_standard"] *= 2.0
    assert set(values(scorecard({"a": fair}), score="crps")) == {1.0}
    np.testing.assert_allclose(values(scorecard({"a": fair.assign_attrs(estimator="almost_fair")}), score="crps"), 1.05)
    single = statistics("persistence", members=1)
    single["crps_fair"] *= np.nan
    single["variance"] *= np.nan
    table = scorecard({"persistence": single, "climatology": statistics("climatology")})
    persistence = table[table["system"] == "persistence"]
    assert set(persistence["estimator"]) == {"standard", ""}
    assert set(values(persistence, score="crps")) == {1.0}
    # A standard score is not compared with a fair one, and one member has no spread.
    assert set(persistence["score"]) == {"crps", "rmse", "bias", "mae"}


def test_varying_members_enter_the_ratio_pair_by_pair():
    data = statistics("climatology")
    data["members"][:2] = 9
    np.testing.assert_allclose(
        values(scorecard({"a": data}), score="spread_skill_ratio"), np.sqrt((10 / 9 + 4 / 3) / 2)
    )
    assert set(scorecard({"a": data})["members"]) == {3}


def test_skill_is_a_ratio_of_means():
    ours = np.array([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1, 1)
    theirs = np.array([2.0, 2.0, 2.0, 6.0]).reshape(4, 1, 1, 1)
    systems = {
        "a": statistics("forecast", ours),
        "b": statistics("baseline", theirs),
        "c": statistics("climatology", 5.0),
    }
    table = scorecard(systems)
    np.testing.assert_allclose(values(table, system="a", score="crps_relative_to_baseline"), 100 * (10 / 12 - 1))
    np.testing.assert_allclose(values(table, system="a", score="crpss_climatology"), 0.5)
    assert values(table, system="b", score="crps_relative_to_baseline").size == 0


def test_unlike_systems_are_refused():
    for attribute in ("grid", "weights", "estimator"):
        other = statistics("baseline", **{attribute: "x"})
        with pytest.raises(StoreError, match=f"differ in {attribute}"):
            scorecard({"a": statistics("forecast"), "b": other})
    masked = statistics("baseline", weight=np.full((4, 2, 2, 1), 0.5))
    with pytest.raises(StoreError, match="different points"):
        scorecard({"a": statistics("forecast"), "b": masked})
    with pytest.raises(UserError, match="more than one baseline"):
        scorecard({"a": statistics("baseline"), "b": statistics("baseline")})


def test_wins_are_counted_and_printed():
    ours = np.array([[1.0, 3.0], [2.0, np.nan]]).reshape(1, 2, 2, 1)
    table = scorecard({"a": statistics("forecast", ours), "b": statistics("baseline", 2.0)})
    wins = count_wins(table, "a", "b")
    assert wins == Wins(better=1, worse=1, tie=1, undefined=1)
    assert str(wins) == "better in 1 of 4 (name x lead_time), 25.00 %, worse 1, tie 1, NaN 1"


def test_wins_of_unlike_systems_are_refused():
    baseline = statistics("baseline", truth="own")
    table = scorecard({"a": statistics("forecast"), "b": baseline, "p": statistics("persistence", members=1)})
    with pytest.raises(UserError, match=r"differ in truth.*own_analysis"):
        count_wins(table, "a", "b")
    assert count_wins(table, "a", "b", own_analysis=True).tie == 4
    with pytest.raises(UserError, match="differ in estimator"):
        count_wins(table, "a", "p")
    with pytest.raises(UserError, match="share no"):
        count_wins(table, "a", "nobody")
    with pytest.raises(UserError, match="cannot count"):
        count_wins(table, "a", "b", score="spread_skill_ratio")


def save(folder, system, day, **attributes):
    data = statistics("forecast", **attributes).isel(init_time=day).assign_attrs(system=system)
    write_statistics(statistics_path(folder, system, data["init_time"].values), data)


def test_files_read_back_exactly(tmp_path):
    for day in (1, 0):
        save(tmp_path, "a", day, value=1 / 3)
    found = read_statistics([tmp_path])["a"]
    expected = statistics("forecast", value=1 / 3).isel(init_time=[0, 1])
    np.testing.assert_array_equal(found["crps_fair"], expected["crps_fair"])
    np.testing.assert_array_equal(found["init_time"], expected["init_time"])
    assert found["lead_time"].dtype.kind == "m"


def test_folders_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(StoreError, match="run verify first"):
        read_statistics([tmp_path])
    save(tmp_path / "one", "a", 0)
    save(tmp_path / "two", "a", 0)
    with pytest.raises(StoreError, match="twice"):
        read_statistics([tmp_path / "one", tmp_path / "two"])
    save(tmp_path / "three", "a", 1, truth="other")
    with pytest.raises(StoreError, match="differ in truth"):
        read_statistics([tmp_path / "one", tmp_path / "three"])
    xr.Dataset({"x": 1.0}).to_netcdf(tmp_path / "one" / "x.nc", engine="scipy")
    with pytest.raises(StoreError, match="names no system"):
        read_statistics([tmp_path / "one"])
