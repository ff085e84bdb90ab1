"""The numbers in the page are those of the table, compact and safe."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from score_world import counts_of, table_with_tests

from fuxi_ens.plot import explorer
from fuxi_ens.plot.caveats import card_notes, caveats, regridding
from fuxi_ens.plot.explorer import explorer_data, explorer_json, shown_leads
from fuxi_ens.plot.score_words import score_units, score_words
from fuxi_ens.plot.table import Scores, Systems
from fuxi_ens.times import hours, lead_times
from fuxi_ens.verify.comparison import Comparison, Versus
from fuxi_ens.verify.wins import Wins


@pytest.fixture(scope="module")
def table(score_table: pd.DataFrame) -> pd.DataFrame:
    return table_with_tests(score_table)


@pytest.fixture(scope="module")
def data(table: pd.DataFrame) -> dict:
    return explorer_data(Scores(table, Systems("fuxi_ens", "physics_ensemble")), counts_of(table), 0.05)


def test_every_number_of_the_table_is_there(data: dict, table: pd.DataFrame) -> None:
    names = [name["id"] for name in data["names"]]
    rows = table[table["score"].isin(["crps", "spread_skill_ratio"])]
    for row in rows.itertuples():
        place = names.index(row.name), data["leads"].index(row.lead_time / hours(1))
        shown = data["values"][row.score][row.region][row.system][place[0]][place[1]]
        assert shown == pytest.approx(row.value * score_units(row.score, row.name).factor, rel=1e-5)


def test_what_the_table_lacks_is_null(data: dict) -> None:
    baseline = np.array(data["values"]["crps"]["global"]["physics_ensemble"], dtype=float)
    assert np.isfinite(baseline).sum() == 6 * 15
    assert np.isnan(baseline).sum() == 6 * 45
    assert "persistence" not in data["values"]["spread_skill_ratio"]["global"]


def test_tests_are_in_display_units(data: dict, table: pd.DataFrame) -> None:
    rows = table[(table["score"] == "crps_difference") & (table["reference"] == "physics_ensemble")]
    row = rows[(rows["name"] == "tp") & (rows["region"] == "tropics") & (rows["lead_time"] == hours(48))].iloc[0]
    tests = data["tests"]["crps"]["tropics"]["physics_ensemble"]
    place = [name["id"] for name in data["names"]].index("tp"), data["leads"].index(48)
    assert tests["ci_low"][place[0]][place[1]] == pytest.approx(1e3 * row["ci_low"], rel=1e-5)
    assert tests["q"][place[0]][place[1]] == pytest.approx(row["q"], rel=1e-5)
    assert tests["significant"][place[0]][place[1]] == float(row["significant"])


def test_json_holds_no_markup_and_no_nan(table: pd.DataFrame) -> None:
    evil = "</script><b>&"
    renamed = table.replace({"system": {"climatology": evil}}).assign(value=table["value"].mask(table.index % 7 == 0))
    text = explorer_json(Scores(renamed, Systems("fuxi_ens", "physics_ensemble", evil)))
    assert not set("<>&") & set(text)
    assert "NaN" not in text
    assert evil in [system["id"] for system in json.loads(text)["systems"]]


def test_a_large_table_is_thinned_to_whole_days_and_then_further(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads = lead_times(hours(6), 60)
    assert len(shown_leads(leads, table)) == 60
    monkeypatch.setattr(explorer, "MOST_NUMBERS", len(table) - 1)
    days = shown_leads(leads, table)
    assert (days % hours(24) == hours(0)).all()
    assert len(days) == 15
    monkeypatch.setattr(explorer, "MOST_NUMBERS", int(table["lead_time"].isin(days).sum()) // 2)
    assert len(shown_leads(leads, table)) < 9
    assert explorer_data(Scores(table, Systems("fuxi_ens", "physics_ensemble")))["thinned"]


@pytest.mark.parametrize(
    ("score", "label", "better", "units"),
    [
        ("crps", "CRPS", "lower", "mm"),
        ("crpss_climatology", "CRPS skill over climatology", "higher", ""),
        ("brier_p95", "Brier score, p95", "lower", ""),
        ("brier_skill_p95", "Brier skill, p95", "higher", ""),
        ("acc_centered", "Anomaly correlation, centered", "higher", ""),
        ("spread_skill_ratio", "Spread-skill ratio", "one", ""),
        ("activity", "activity", "none", ""),
    ],
)
def test_words_of_scores(score: str, label: str, better: str, units: str) -> None:
    words = score_words(score)
    assert (words.label, words.better, score_units(score, "tp").label) == (label, better, units)


def statistics_of(truth: str = "gs://era5.zarr", members: int = 50, start: str = "2018-01-01") -> dict[str, xr.Dataset]:
    """The attributes and coordinates of which caveats are made."""
    times = pd.date_range(start, periods=20, freq="12h")
    made = {}
    for system, role, count in (("ours", "forecast", 48), ("ifs_ens", "baseline", members), ("p", "persistence", 1)):
        data = xr.Dataset(
            {"members": ("lead_time", [count, count])},
            {"init_time": times.to_numpy(), "lead_time": np.array([hours(6), hours(12)])},
        )
        made[system] = data.assign_attrs(role=role, truth=truth, estimator="fair")
    return made


def caveats_of(statistics: dict[str, xr.Dataset], tested: int = 90) -> str:
    won = Wins(1, 0, 0, 0, tested=tested, level=0.05)
    comparison = Comparison(pd.DataFrame(), {Versus("ours", "ifs_ens", "crps", "global"): won})
    return "\n".join(caveats(statistics, Systems("ours", "ifs_ens", None, "p"), comparison))


def test_caveats_say_what_the_numbers_depend_on() -> None:
    text = caveats_of(statistics_of())
    for part in (
        "20 init times, 1 of 12 months, 1 year",
        "false discovery rate of 5 %",
        "fair estimator (members: ours 48, ifs ens 50)",
        "Of a single member, p, it is the absolute error",
        "against gs://era5.zarr",
        "Init times at 00 and 12 UTC",
        "up to 9 hours",
        "zigzag",
    ):
        assert part in text


def test_caveats_that_do_not_apply_are_not_made() -> None:
    packaged = caveats_of(statistics_of(truth="asset:nature_run.zarr"))
    assert "9 hours" not in packaged
    assert "Climatology" not in packaged
    other_hours = caveats_of(statistics_of(start="2018-01-01T06"))
    assert "9 hours" not in other_hours
    assert "zigzag" not in other_hours
    assert "no difference could be tested" in caveats_of(statistics_of(), tested=0)


def with_climatology(years: str) -> dict[str, xr.Dataset]:
    statistics = statistics_of()
    statistics["c"] = statistics["ifs_ens"].assign_attrs(role="climatology", climatology_years=years)
    return statistics


def test_the_years_of_the_climatology_are_named() -> None:
    systems = Systems("ours", "ifs_ens", "c", "p")
    statistics = with_climatology("1990-2017")
    text = "\n".join(caveats(statistics, systems, Comparison(pd.DataFrame(), {})))
    assert "made of the years 1990\N{EN DASH}2017, without any verified time" in text
    assert card_notes(statistics, systems).startswith("Climatology of 1990\N{EN DASH}2017. A forecast from ERA5")


def test_a_card_of_packaged_data_has_no_notes() -> None:
    assert card_notes(statistics_of(truth="asset:nature_run.zarr"), Systems("ours", "ifs_ens", None, "p")) == ""


@pytest.mark.parametrize(("height", "count"), [(None, 0), (16, 1)])
def test_regridding_is_said_where_it_happened(height: int | None, count: int) -> None:
    grids = SimpleNamespace(height=32, width=64), SimpleNamespace(height=height or 32, width=64)
    config = SimpleNamespace(model=SimpleNamespace(grid=grids[0]), forecast_grid=grids[1])
    said = list(regridding(config))
    assert len(said) == count
    assert all("from 32x64 to 16x64 points" in text for text in said)


def test_different_truths_and_unequal_members_are_named() -> None:
    statistics = statistics_of()
    statistics["ifs_ens"].attrs["truth"] = "hres_t0"
    statistics = {system: data.assign_attrs(estimator="standard") for system, data in statistics.items()}
    text = caveats_of(statistics)
    assert "ifs ens against hres_t0" in text
    assert "favors the larger ensemble" in text
