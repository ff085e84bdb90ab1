"""Curves show the numbers of the table, in the right place and style."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from score_world import table_with_tests

from fuxi_ens.channels import HEADLINE
from fuxi_ens.errors import UserError
from fuxi_ens.plot import curves, style
from fuxi_ens.plot.figure import figure_bytes
from fuxi_ens.plot.table import Scores, Systems


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_crps_curves_have_a_panel_per_name_and_all_systems(scores: Scores) -> None:
    figure = curves.crps_curves(scores)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [style.long_name(name) for name in HEADLINE]
    assert legend_of(figure) == ["fuxi_ens", "physics ensemble", "climatology", "persistence"]
    rain = figure.axes[-1]
    assert rain.get_ylabel() == "mm"
    ours = scores.curve("fuxi_ens", "tp", "crps")
    np.testing.assert_allclose(rain.lines[0].get_ydata(), ours.to_numpy() * 1e3)
    np.testing.assert_allclose(rain.lines[0].get_xdata(), style.in_days(ours.index.to_numpy()))


def test_skill_is_solid_and_spread_dashed(scores: Scores) -> None:
    figure = curves.skill_spread_curves(scores)
    skill, spread = figure.axes[0].lines[:2]
    assert skill.get_linestyle() == "-"
    assert spread.get_linestyle() == "--"
    assert skill.get_color() == spread.get_color()
    assert "persistence" not in legend_of(figure)


def test_skill_score_curves_leave_out_systems_without_one(scores: Scores) -> None:
    assert legend_of(curves.crpss_curves(scores)) == ["fuxi_ens", "physics ensemble"]


def test_figures_leave_global_settings_alone(scores: Scores) -> None:
    before = dict(mpl.rcParams)
    figure_bytes(curves.spread_skill_ratio_curves(scores))
    assert dict(mpl.rcParams) == before


def test_differences_are_drawn_with_their_confidence(score_table: pd.DataFrame) -> None:
    scores = Scores(table_with_tests(score_table), Systems("fuxi_ens", "physics_ensemble"))
    figure = curves.difference_curves(scores, "physics_ensemble")
    axes = figure.axes[0]
    percent = scores.difference("physics_ensemble").loc["z500"].to_numpy(dtype=float)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), percent)
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(percent.min() - 5.0)
    assert band.max() == pytest.approx(percent.max() + 5.0)


def test_differences_without_tests_are_a_user_error(scores: Scores) -> None:
    with pytest.raises(UserError, match="no tests"):
        curves.difference_curves(scores, "physics_ensemble")


def test_a_missing_baseline_has_no_curve(score_table: pd.DataFrame) -> None:
    without = score_table[score_table["system"] != "physics_ensemble"]
    scores = Scores(without, Systems("fuxi_ens", "physics_ensemble"))
    assert "physics ensemble" not in legend_of(curves.crps_curves(scores))


def test_further_systems_have_styles_of_their_own(score_table: pd.DataFrame) -> None:
    more = score_table[score_table["system"] == "physics_ensemble"].assign(system="other_model")
    systems = Systems("fuxi_ens", "physics_ensemble", others=("other_model",))
    scores = Scores(pd.concat([score_table, more]), systems)
    assert legend_of(curves.crps_curves(scores))[-1] == "other model"
    colors = {scores.style(system).color for system in scores.present.values()}
    assert len(colors) == 5
