"""The scorecard: CRPS against each reference in percent, names by lead times, blue where we are better."""

import textwrap
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fuxi_ens.errors import UserError
from fuxi_ens.plot.style import HAIRLINE, INK, MUTED, RC, WIDTH, in_days, short_name, signed, system_label
from fuxi_ens.plot.table import Scores, readable_leads
from fuxi_ens.verify.wins import Wins

BOUNDS: Final = (-50, -20, -10, -5, -2, -1, 1, 2, 5, 10, 20, 50)
"""WeatherBench 2's percent classes; the middle one counts as no difference."""
_NO_DIFFERENCE: Final = "#dfe3e7"
_NOT_SCORED: Final = "#ffffff"
_HATCH: Final = (0.42, 0.47, 0.52, 0.35)
"""Gray that leaves the number above it readable."""
_FOOTER_COLUMNS: Final = 160
"""Characters of the footer's small print that surely fit the width of the figure."""


def class_colors() -> Colormap:
    """Matplotlib's RdBu_r by class, with gray for no difference."""
    shades = colormaps["RdBu_r"](np.linspace(0.06, 0.94, len(BOUNDS) + 1))
    colors = [tuple(shade) for shade in shades]
    colors[len(BOUNDS) // 2] = mpl.colors.to_rgba(_NO_DIFFERENCE)
    return ListedColormap(colors, name="scorecard").with_extremes(bad=_NOT_SCORED)


def class_norm() -> BoundaryNorm:
    """Percent to class, open at both ends."""
    return BoundaryNorm(BOUNDS, len(BOUNDS) + 1, extend="both")


@mpl.rc_context(RC)
def scorecard(scores: Scores, footer: str = "") -> Figure:
    """One heat map per reference in the table; `footer` says what the numbers rest on."""
    if not scores.references:
        raise UserError("a scorecard needs at least one reference: a baseline, climatology or persistence")
    tables = {reference: scores.difference(reference) for reference in scores.references}
    rows = len(scores.names)
    footer_lines = textwrap.wrap(footer, _FOOTER_COLUMNS)
    height = 0.7 + len(tables) * (0.6 + 0.29 * rows) + 0.14 * len(footer_lines)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    for index, (reference, percent) in enumerate(tables.items()):
        axes = figure.add_subplot(len(tables), 1, index + 1)
        shown = percent[readable_leads(percent.columns.to_numpy())]
        _panel(axes, shown, reference)
        _show_significance(axes, scores, reference, shown)
    figure.axes[-1].set_xlabel("lead time (days)", fontsize=8)
    _color_bar(figure)
    if footer_lines:
        figure.supxlabel("\n".join(footer_lines), x=0.01, ha="left", fontsize=7.5, color=MUTED)
    return figure


def _panel(axes: Axes, percent: pd.DataFrame, reference: str) -> None:
    values = percent.to_numpy(dtype=float)
    axes.pcolormesh(
        np.ma.masked_invalid(values),
        cmap=class_colors(),
        norm=class_norm(),
        edgecolors="white",
        linewidth=1.2,
    )
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f"CRPS against {system_label(reference)}")
    axes.set_yticks(np.arange(len(percent)) + 0.5, [short_name(name) for name in percent.index], color=INK)
    days = [f"{day:g}" for day in in_days(percent.columns.to_numpy())]
    axes.set_xticks(np.arange(len(days)) + 0.5, days)
    for (row, column), value in np.ndenumerate(values):
        _print(axes, row, column, value)


def _show_significance(axes: Axes, scores: Scores, reference: str, shown: pd.DataFrame) -> None:
    """Hatch the cells that may be chance, untested ones too, and print the counts, if the table has tests."""
    won, significant = scores.wins.get(reference), scores.significant(reference)
    if won is None or significant is None:
        return
    axes.set_title(wins_label(won), loc="right", fontsize=7.5, color=MUTED, weight="normal")
    if not won.tested:
        # All cells would be hatched, which the words say better.
        return
    for row, column in np.argwhere((shown.notna() & ~significant[shown.columns]).to_numpy()):
        axes.add_patch(Rectangle((column, row), 1, 1, fill=False, hatch="///", linewidth=0, edgecolor=_HATCH))


def wins_label(won: Wins) -> str:
    """Counts over all counted cells, shown or not, with the significant ones in parentheses."""
    if not won.tested:
        return f"better in {won.better} of {won.total}, worse in {won.worse}; significance could not be tested"
    return (
        f"better in {won.better} of {won.total} ({won.significantly_better} significantly), "
        f"worse in {won.worse} ({won.significantly_worse}); hatched: not significant"
    )


def _print(axes: Axes, row: int, column: int, value: float) -> None:
    if not np.isfinite(value):
        axes.text(column + 0.5, row + 0.5, "\N{EN DASH}", ha="center", va="center", color=HAIRLINE)
        return
    # Dark classes are the outermost three on either side.
    color = "white" if abs(value) >= BOUNDS[-3] else INK
    axes.text(column + 0.5, row + 0.5, cell_text(value), ha="center", va="center", color=color, fontsize=7.5)


def cell_text(value: float) -> str:
    """The percent as printed: a decimal below 10 %, where classes are narrow."""
    return signed(value, 0 if abs(value) >= 10.0 else 1)


def _color_bar(figure: Figure) -> None:
    bar = figure.colorbar(
        ScalarMappable(class_norm(), class_colors()),
        ax=figure.axes,
        orientation="vertical",
        aspect=38,
        pad=0.015,
        ticks=BOUNDS,
        spacing="uniform",
        extendfrac=0.05,
    )
    bar.ax.set_yticklabels([signed(bound) for bound in BOUNDS])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label("difference in CRPS (%); blue is better, red is worse", color=MUTED)
