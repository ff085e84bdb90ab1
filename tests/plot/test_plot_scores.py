"""Curves and scorecard show the numbers of the table, in the right place and color."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fuxi_ens.channels import HEADLINE
from fuxi_ens.errors import UserError
from fuxi_ens.plot import curves, style
from fuxi_ens.plot.figure import figure_bytes, save_figure
from fuxi_ens.plot.scorecard import BOUNDS, cell_text, class_colors, class_norm, scorecard
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


def test_scorecard_prints_the_numbers_of_the_table(scores: Scores) -> None:
    figure = scorecard(scores, "24 init times")
    panel = figure.axes[0]
    difference = scores.difference("physics_ensemble")
    printed = [text.get_text() for text in panel.texts]
    assert printed == [cell_text(value) for value in difference.to_numpy().ravel()]
    assert [label.get_text() for label in panel.get_yticklabels()] == [name.upper() for name in HEADLINE]
    assert [label.get_text() for label in panel.get_xticklabels()] == [str(day) for day in range(1, 16)]
    assert figure.get_supxlabel() == "24 init times"


def test_scorecard_is_blue_for_better_and_red_for_worse(scores: Scores) -> None:
    panel = scorecard(scores).axes[0]
    mesh = next(item for item in panel.collections if isinstance(item, QuadMesh))
    values = np.asarray(mesh.get_array()).ravel()
    mesh.update_scalarmappable()
    colors = mesh.get_facecolors()
    red, blue = colors[:, 0], colors[:, 2]
    assert (blue[values < -1.0] > red[values < -1.0]).all()
    assert (red[values > 1.0] > blue[values > 1.0]).all()


def test_within_one_percent_is_gray() -> None:
    low, center, high = (to_hex(class_colors()(class_norm()(value))) for value in (-0.99, 0.0, 0.99))
    assert low == center == high == "#dfe3e7"
    assert len({int(class_norm()(bound)) for bound in BOUNDS}) == len(BOUNDS)


def test_missing_baseline_drops_its_panel(score_table: pd.DataFrame) -> None:
    without = score_table[score_table["system"] != "physics_ensemble"]
    scores = Scores(without, Systems("fuxi_ens", "physics_ensemble"))
    titles = [axes.get_title(loc="left") for axes in scorecard(scores).axes]
    assert titles[:2] == ["CRPS against climatology", "CRPS against persistence"]
    assert "physics ensemble" not in legend_of(curves.crps_curves(scores))


def test_scorecard_without_any_reference_is_a_user_error(score_table: pd.DataFrame) -> None:
    alone = Scores(score_table[score_table["system"] == "fuxi_ens"], Systems("fuxi_ens"))
    with pytest.raises(UserError, match="at least one reference"):
        scorecard(alone)


def test_missing_cell_is_a_dash(score_table: pd.DataFrame) -> None:
    gap = (score_table["system"] == "physics_ensemble") & (score_table["name"] == "tp")
    scores = Scores(score_table[~gap], Systems("fuxi_ens", "physics_ensemble"))
    assert [text.get_text() for text in scorecard(scores).axes[0].texts][-15:] == ["\N{EN DASH}"] * 15


def test_same_figure_same_bytes(scores: Scores) -> None:
    assert figure_bytes(scorecard(scores), "svg") == figure_bytes(scorecard(scores), "svg")


def test_figures_are_saved_by_suffix(scores: Scores, tmp_path: Any) -> None:
    saved = save_figure(scorecard(scores), tmp_path / "deep" / "scorecard.png")
    assert saved.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="suffix"):
        save_figure(scorecard(scores), tmp_path / "scorecard.jpg")


def test_the_footer_is_wrapped_to_the_width_of_the_figure(scores: Scores) -> None:
    footer = "Truth: " + "a store with a long name, " * 20
    figure = scorecard(scores, footer)
    figure.draw_without_rendering()
    box = figure.get_window_extent()
    (text,) = [text for text in figure.texts if "Truth" in text.get_text()]
    assert text.get_text().replace("\n", " ").split() == footer.split()
    assert text.get_window_extent().x1 < box.x1
    assert figure.get_figheight() > scorecard(scores).get_figheight()
