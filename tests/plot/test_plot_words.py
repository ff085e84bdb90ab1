"""Names, units, and the numbers and sentences a reader takes home."""

import numpy as np
import pandas as pd
import pytest

from fuxi_ens.channels import HEADLINE
from fuxi_ens.errors import UserError
from fuxi_ens.plot import style
from fuxi_ens.plot.classes import cell_text
from fuxi_ens.plot.summary import fine_print, headline_cards, number_table, three_digits, useful_days, wins
from fuxi_ens.plot.table import Scores, Systems, readable_leads
from fuxi_ens.times import hours, lead_times
from fuxi_ens.verify.wins import count_wins


def test_display_names_come_from_the_vocabulary() -> None:
    assert style.long_name("z500") == "Geopotential at 500 hPa"
    assert style.long_name("ws10m") == "10\N{NO-BREAK SPACE}m wind speed"
    assert style.long_name("tp") == "Total precipitation in 6 h"
    assert style.in_sentence("z500") == "geopotential at 500 hPa"


def test_temperature_has_celsius_fields_and_kelvin_scores() -> None:
    units = style.display_units("t2m")
    assert style.field_units("t2m") == "\N{DEGREE SIGN}C"
    assert units.label == "K"
    np.testing.assert_allclose(units.field(np.array([273.15])), 0.0)


def test_geopotential_is_a_height_on_charts_only() -> None:
    assert style.field_units("z500") == "dam"
    np.testing.assert_allclose(style.chart_units("z500").field(np.array([9.80665 * 5520.0])), 552.0)
    assert style.display_units("z500").factor == 1.0
    assert style.chart_units("t2m") == style.display_units("t2m")


@pytest.mark.parametrize(("name", "factor", "label"), [("tp", 1e3, "mm"), ("msl", 1e-2, "hPa")])
def test_display_factors(name: str, factor: float, label: str) -> None:
    assert (style.display_units(name).factor, style.display_units(name).label) == (factor, label)


@pytest.mark.parametrize(("value", "text"), [(-4.56, "\N{MINUS SIGN}4.6"), (12.3, "+12"), (-0.01, "0.0")])
def test_cell_text(value: float, text: str) -> None:
    assert cell_text(value) == text


def test_table_without_our_forecast_is_a_user_error(score_table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="holds no 'nobody'"):
        Scores(score_table, Systems("nobody"))
    with pytest.raises(UserError, match="lacks columns"):
        Scores(score_table.drop(columns="truth"), Systems("fuxi_ens"))


def test_doubled_rows_are_a_user_error(score_table: pd.DataFrame) -> None:
    doubled = Scores(pd.concat([score_table, score_table]), Systems("fuxi_ens"))
    with pytest.raises(UserError, match="twice"):
        doubled.curve("fuxi_ens", "z500", "crps")


def test_difference_equals_the_score_of_the_table(scores: Scores) -> None:
    difference = scores.difference("physics_ensemble")
    for name in HEADLINE:
        stored = scores.curve("fuxi_ens", name, "crps_relative_to_baseline")
        np.testing.assert_allclose(difference.loc[name, stored.index], stored)


def test_wins_agree_with_verification(score_table: pd.DataFrame, scores: Scores) -> None:
    counted = count_wins(score_table, "fuxi_ens", "physics_ensemble")
    assert wins(scores.difference("physics_ensemble")) == (counted.better, counted.total)


def test_a_tie_is_no_win() -> None:
    assert wins(pd.DataFrame([[-1.0, 0.0, np.nan, 1.0]])) == (1, 3)


def test_readable_leads_are_whole_days_and_few() -> None:
    leads = readable_leads(lead_times(hours(6), 60))
    assert len(leads) == 15
    assert leads[0] == hours(24)
    assert len(readable_leads(lead_times(hours(6), 4))) == 4
    assert len(readable_leads(lead_times(hours(24), 45))) <= 20


def test_headline_cards_count_wins(scores: Scores) -> None:
    cards = {card.label: card for card in headline_cards(scores)}
    assert cards["better than physics ensemble"].value == "75 / 90"
    assert cards["better than climatology"].value == "360 / 360"
    assert cards["spread-skill ratio"].tone == "good"


def test_useful_days_end_at_the_first_loss(score_table: pd.DataFrame) -> None:
    table = score_table.copy()
    ours = (table["system"] == "fuxi_ens") & (table["name"] == "tp") & (table["score"] == "crpss_climatology")
    table.loc[ours & (table["lead_time"] == hours(78)), "value"] = -0.1
    assert useful_days(Scores(table, Systems("fuxi_ens")), "tp") == 3.0


def test_number_table_marks_the_lowest(scores: Scores) -> None:
    numbers = number_table(scores)
    assert numbers.days == (1, 3, 5, 10, 15)
    assert len(numbers.rows) == 4 * len(HEADLINE)
    ours, baseline = numbers.rows[:2]
    assert float(ours.values[0]) == pytest.approx(scores.curve("fuxi_ens", "z500", "crps")[hours(24)], rel=2e-3)
    assert ours.best == (True,) * 5
    assert baseline.best == (False,) * 5


def test_fine_print_says_what_the_numbers_rest_on(scores: Scores) -> None:
    text = fine_print(scores, "1998")
    for part in (
        "24 init times, 1998",
        "standard for persistence",
        "fuxi_ens 20",
        "nature run 1998",
        "32x64",
    ):
        assert part in text


@pytest.mark.parametrize(("value", "text"), [(480.0, "480"), (0.2, "0.200"), (52.63, "52.6"), (np.nan, "\N{EN DASH}")])
def test_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text
