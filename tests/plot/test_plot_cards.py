"""Scorecards show the numbers, colors and significance of the table, in every style."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_hex
from score_world import table_with_tests

from fuxi_ens.channels import HEADLINE
from fuxi_ens.errors import UserError
from fuxi_ens.plot.card_ecmwf import SYMBOLS, classify
from fuxi_ens.plot.card_gencast import variable_panels
from fuxi_ens.plot.card_parts import wins_label
from fuxi_ens.plot.card_style import CardStyle
from fuxi_ens.plot.card_weatherbench import card_leads
from fuxi_ens.plot.classes import BOUNDS, class_colors, class_norm
from fuxi_ens.plot.figure import figure_bytes, save_figure
from fuxi_ens.plot.publish import card_name
from fuxi_ens.plot.scorecard import scorecard
from fuxi_ens.plot.style import display_units, long_name
from fuxi_ens.plot.summary import three_digits
from fuxi_ens.plot.table import Scores, Systems
from fuxi_ens.times import hours
from fuxi_ens.verify.wins import Wins

STYLES = list(CardStyle)
WON = Wins(
    better=75, worse=15, tie=0, undefined=0, significantly_better=60, significantly_worse=4, tested=90, level=0.05,
    low=71.2, high=88.6,
)  # fmt: skip


@pytest.fixture(scope="module")
def tested(score_table: pd.DataFrame) -> Scores:
    systems = Systems("fuxi_ens", "physics_ensemble")
    return Scores(table_with_tests(score_table), systems, wins={"physics_ensemble": WON})


def mesh_of(axes: Axes) -> QuadMesh:
    return next(item for item in axes.collections if isinstance(item, QuadMesh))


def printed(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def hatched(axes: Axes) -> np.ndarray:
    """(row, column) of hatched cells, sorted."""
    found = [item for item in axes.collections if isinstance(item, PolyCollection) and item.get_hatch()]
    corners = [path.vertices[0] for item in found for path in item.get_paths()]
    return np.array(sorted((int(row), int(column)) for column, row in corners)).reshape(-1, 2)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_says_what_the_numbers_rest_on_and_no_texts_lie_on_each_other(
    tested: Scores, style: CardStyle
) -> None:
    footer = "Truth: " + "a store with a long name, " * 20
    figure = scorecard(tested, footer, style)
    figure.draw_without_rendering()
    (text,) = [text for text in figure.texts if "Truth" in text.get_text()]
    assert text.get_text().replace("\n", " ").split() == footer.split()
    assert text.get_window_extent().x1 < figure.get_window_extent().x1
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    boxes += [legend.get_window_extent() for legend in legends]
    boxes += [axes.xaxis.label.get_window_extent() for axes in figure.axes if axes.get_xlabel()]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


@pytest.mark.parametrize("style", STYLES)
def test_a_card_without_any_reference_is_a_user_error(score_table: pd.DataFrame, style: CardStyle) -> None:
    alone = Scores(score_table[score_table["system"] == "fuxi_ens"], Systems("fuxi_ens"))
    with pytest.raises(UserError, match="at least one reference"):
        scorecard(alone, style=style)


@pytest.mark.parametrize("style", STYLES)
def test_an_unknown_reference_is_a_user_error_that_names_those_there_are(tested: Scores, style: CardStyle) -> None:
    with pytest.raises(UserError, match="ifs_ens.*physics_ensemble, climatology, persistence"):
        scorecard(tested, style=style, reference="ifs_ens")


def test_same_card_same_bytes(tested: Scores) -> None:
    cards = [scorecard(tested, style=CardStyle.GENCAST) for _ in range(2)]
    assert figure_bytes(cards[0], "svg") == figure_bytes(cards[1], "svg")


def test_files_are_named_after_the_style() -> None:
    assert [card_name(style) for style in STYLES] == ["scorecard", "scorecard_gencast", "scorecard_ecmwf"]


def test_cards_are_saved_by_suffix(tested: Scores, tmp_path: Any) -> None:
    card = scorecard(tested)
    assert save_figure(card, tmp_path / "deep" / "card.png").read_bytes().startswith(b"\x89PNG")
    assert save_figure(card, tmp_path / "card.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match="suffix"):
        save_figure(card, tmp_path / "card.jpg")


def test_within_one_percent_is_gray() -> None:
    low, center, high = (to_hex(class_colors()(class_norm()(value))) for value in (-0.99, 0.0, 0.99))
    assert low == center == high == "#dfe3e7"
    assert len({int(class_norm()(bound)) for bound in BOUNDS}) == len(BOUNDS)


def test_weatherbench_prints_the_scores_in_display_units(scores: Scores) -> None:
    figure = scorecard(scores, "24 init times")
    panels = figure.axes[: len(HEADLINE)]
    order = ("physics_ensemble", "fuxi_ens", "climatology", "persistence")
    for axes, name in zip(panels, HEADLINE, strict=True):
        assert axes.get_title(loc="left").startswith(long_name(name))
        curves = [scores.curve(system, name, "crps").reindex(pd.TimedeltaIndex(card_leads(scores))) for system in order]
        values = np.array([curve.to_numpy() for curve in curves]) * display_units(name).factor
        assert printed(axes) == [three_digits(value) for value in values.ravel()]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3", "5", "10", "15"]
    assert panels[0].get_yticklabels()[0].get_text() == "physics ensemble"


def test_weatherbench_colors_are_percents_of_the_reference(scores: Scores) -> None:
    for reference in ("physics_ensemble", "climatology"):
        axes = scorecard(scores, reference=reference).axes[0]
        percent = mesh_of(axes).get_array()
        row = 1 + [s for s in scores.present.values() if s != reference].index("fuxi_ens")
        expected = scores.difference(reference).loc["z500", pd.TimedeltaIndex(card_leads(scores))]
        np.testing.assert_allclose(percent[row].astype(float), expected.to_numpy(dtype=float))
        assert percent.mask[0].all()


def test_weatherbench_is_blue_for_better_and_red_for_worse(scores: Scores) -> None:
    mesh = mesh_of(scorecard(scores).axes[HEADLINE.index("ws10m")])
    values = mesh.get_array().filled(np.nan).ravel()
    mesh.update_scalarmappable()
    colors = mesh.get_facecolors()
    red, blue = colors[:, 0], colors[:, 2]
    assert (red[values > 1.0] > blue[values > 1.0]).all()
    mesh = mesh_of(scorecard(scores).axes[0])
    values = mesh.get_array().filled(np.nan).ravel()
    mesh.update_scalarmappable()
    colors = mesh.get_facecolors()
    assert (values < -1.0).any()
    assert (colors[values < -1.0, 2] > colors[values < -1.0, 0]).all()


def test_weatherbench_shows_a_missing_score_as_a_dash(score_table: pd.DataFrame) -> None:
    gap = (score_table["system"] == "physics_ensemble") & (score_table["name"] == "tp")
    scores = Scores(score_table[~gap], Systems("fuxi_ens", "physics_ensemble"))
    axes = scorecard(scores).axes[HEADLINE.index("tp")]
    assert printed(axes)[:5] == ["\N{EN DASH}"] * 5
    assert mesh_of(axes).get_array().mask.all()


def test_weatherbench_of_a_short_forecast_has_the_leads_there_are(score_table: pd.DataFrame) -> None:
    short = score_table[score_table["lead_time"] <= hours(24)]
    scores = Scores(short, Systems("fuxi_ens", "physics_ensemble"))
    assert [label.get_text() for label in scorecard(scores).axes[0].get_xticklabels()] == ["0.25", "0.5", "0.75", "1"]


def test_weatherbench_without_the_baseline_compares_with_climatology(score_table: pd.DataFrame) -> None:
    without = score_table[score_table["system"] != "physics_ensemble"]
    scores = Scores(without, Systems("fuxi_ens", "physics_ensemble"))
    assert "against climatology" in scorecard(scores).get_suptitle()


def test_gencast_puts_levels_into_panels_and_surface_names_together() -> None:
    panels = variable_panels(("z500", "z850", "t850", "t2m", "tp"))
    assert panels == {
        "Geopotential": ("z500", "z850"),
        "Temperature": ("t850",),
        "Surface": ("t2m", "tp"),
    }


def test_gencast_has_a_column_per_reference_with_every_lead_time(tested: Scores) -> None:
    figure = scorecard(tested, style=CardStyle.GENCAST)
    assert len(figure.axes) == 3 * 3 + 1
    shapes = [mesh_of(axes).get_array().shape for axes in figure.axes[:3]]
    assert shapes == [(1, 15), (1, 60), (1, 60)]
    shown = mesh_of(figure.axes[0]).get_array()[0].astype(float)
    np.testing.assert_allclose(shown, tested.difference("physics_ensemble").loc["z500"].to_numpy(dtype=float))


def test_gencast_hatches_what_may_be_chance(tested: Scores) -> None:
    surface = scorecard(tested, style=CardStyle.GENCAST, reference="physics_ensemble").axes[2]
    percent = tested.difference("physics_ensemble").loc[["msl", "t2m", "ws10m", "tp"]]
    expected = np.argwhere(~(percent.abs() > 5.0).to_numpy())
    assert 0 < len(expected) < percent.size
    np.testing.assert_array_equal(hatched(surface), expected)
    assert wins_label(WON) in surface.figure.axes[0].get_title(loc="left")


def test_gencast_does_not_hatch_what_was_not_tested(tested: Scores, scores: Scores) -> None:
    untested = replace(WON, tested=0, significantly_better=0, significantly_worse=0)
    for shown in (replace(tested, wins={"physics_ensemble": untested}), scores):
        figure = scorecard(shown, style=CardStyle.GENCAST)
        assert not any(len(hatched(axes)) for axes in figure.axes)
    assert not any("hatched" in axes.get_xlabel() for axes in figure.axes)
    label = next(axes.get_xlabel() for axes in scorecard(tested, style=CardStyle.GENCAST).axes[::-1])
    assert label.endswith("hatched: not significant")
    assert wins_label(untested) == "better in 75 of 90, worse in 15; significance could not be tested"


@pytest.mark.parametrize(
    ("value", "low", "high", "significant", "expected"),
    [
        (-10.0, -11.0, -9.0, True, 3),
        (-3.0, -5.0, -1.0, True, 2),
        (-1.0, -3.0, 1.0, False, 1),
        (-10.0, -11.0, -9.0, False, 1),
        (0.0, -1.0, 1.0, False, 0),
        (1.0, -1.0, 3.0, False, -1),
        (3.0, 1.0, 5.0, True, -2),
        (10.0, 9.0, 11.0, True, -3),
        (-1.0, np.nan, np.nan, False, 1),
    ],
)
def test_classes_of_ecmwf(value: float, low: float, high: float, significant: bool, expected: int) -> None:
    row = pd.DataFrame({"value": [value], "ci_low": [low], "ci_high": [high], "significant": [significant]})
    assert classify(row).item() == expected


def test_a_missing_difference_has_no_class() -> None:
    row = pd.DataFrame({"value": [np.nan], "ci_low": [np.nan], "ci_high": [np.nan], "significant": [False]})
    assert classify(row).isna().all()


def test_ecmwf_has_a_symbol_per_region_name_score_and_day(tested: Scores) -> None:
    crps, rmse = scorecard(tested, style=CardStyle.ECMWF).axes[:2]
    assert [axes.get_title(loc="left") for axes in (crps, rmse)] == ["CRPS", "RMSE of the ensemble mean"]
    names = [label.get_text() for label in crps.get_yticklabels()]
    assert names == [name.upper() for name in HEADLINE] * 2
    assert printed(crps) == ["global", "tropics"]
    symbols = {(line.get_ydata()[0], line.get_xdata()[0]): line for line in crps.lines if line.get_marker() != "None"}
    assert len(symbols) == 2 * len(HEADLINE) * 15
    for region_row, region in ((0, "global"), (6, "tropics")):
        tests = classify(tested.within(region).tests("physics_ensemble"))
        for row, name in enumerate(HEADLINE):
            for column, day in enumerate(range(1, 16)):
                symbol = SYMBOLS[int(tests[name, pd.Timedelta(days=day)])]
                line = symbols[region_row + row, column]
                assert (line.get_marker(), line.get_markersize()) == (symbol.marker, symbol.size)


def test_ecmwf_without_tests_says_so_and_draws_no_significant_symbol(scores: Scores) -> None:
    figure = scorecard(scores, style=CardStyle.ECMWF)
    assert "could not be tested" in figure.get_suptitle()
    sizes = {line.get_markersize() for line in figure.axes[0].lines if line.get_marker() != "None"}
    assert sizes == {SYMBOLS[1].size}


def test_ecmwf_says_so_when_no_row_could_be_tested(tested: Scores) -> None:
    single = tested.table.assign(ci_low=np.nan, ci_high=np.nan, significant=False)
    assert "could not be tested" in scorecard(replace(tested, table=single), style=CardStyle.ECMWF).get_suptitle()
    assert "could not be tested" not in scorecard(tested, style=CardStyle.ECMWF).get_suptitle()


def test_up_is_better_and_color_is_not_the_only_sign() -> None:
    assert {SYMBOLS[level].marker for level in (1, 2, 3)} == {"^"}
    assert {SYMBOLS[level].marker for level in (-1, -2, -3)} == {"v"}
