"""Scorecard in the style of ECMWF: a symbol per day for every region, quantity and score.

Up is better, whichever way the score itself points. A difference is significant when verification says so (false
discovery rate over the card); it is clearly significant when the confidence interval also lies away from zero by more
than its own length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from fuxi_ens.errors import UserError
from fuxi_ens.plot.card_parts import bare, footer_lines, print_footer
from fuxi_ens.plot.score_words import score_words
from fuxi_ens.plot.style import HAIRLINE, INK, MUTED, RC, WIDTH, in_days, short_name, system_label
from fuxi_ens.plot.table import CRPS, Scores, readable_leads
from fuxi_ens.times import Leads

BETTER_COLOR: Final = "#0072B2"
WORSE_COLOR: Final = "#D55E00"
_PALE: Final = 0.45
_GRAY: Final = "#b3bcc5"
_MOST_DAYS: Final = 15
_LEGEND_HEIGHT: Final = 0.45
"""Inches."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """How one class of differences is drawn."""

    words: str
    marker: str
    size: float
    color: str
    filled: bool = True
    alpha: float = 1.0


SYMBOLS: Final = {
    3: Symbol("better, clearly significant", "^", 6.0, BETTER_COLOR),
    2: Symbol("better, significant", "^", 3.6, BETTER_COLOR),
    1: Symbol("better, not significant", "^", 3.6, BETTER_COLOR, filled=False, alpha=_PALE),
    0: Symbol("no difference", "s", 2.6, _GRAY),
    -1: Symbol("worse, not significant", "v", 3.6, WORSE_COLOR, filled=False, alpha=_PALE),
    -2: Symbol("worse, significant", "v", 3.6, WORSE_COLOR),
    -3: Symbol("worse, clearly significant", "v", 6.0, WORSE_COLOR),
}
"""By class of `classify`."""


def classify(cells: pd.DataFrame) -> pd.Series:
    """Class of tested differences, columns `value`, `ci_low`, `ci_high`, `significant`; negative values are better.

    3 and -3 are clearly significant, 2 and -2 significant, 1 and -1 not or not tested, 0 a tie; NaN where the value
    is.
    """
    value = cells["value"].astype(float)
    low, high = cells["ci_low"].astype(float), cells["ci_high"].astype(float)
    significant = cells["significant"].eq(other=True)
    away = np.where(value < 0, -high, low)
    clear = significant & (away > high - low)
    return value.map(np.sign) * -(1 + significant.astype(int) + clear.astype(int))


@mpl.rc_context(RC)
def ecmwf_card(scores: Scores, references: tuple[str, ...], footer: str) -> Figure:
    """Against the first of `references`, in all regions of the table.

    Without tests all symbols are those of "not significant", of the CRPS alone. Raises UserError when no difference
    exists at all.
    """
    reference = references[0]
    tested = scores.tested_scores(reference)
    columns = tested or (CRPS,)
    rows = list(product(scores.regions, scores.names))
    leads = _leads(scores, reference)
    lines = footer_lines(footer)
    rows_height = 0.2 * len(rows)
    height = 1.15 + rows_height + _LEGEND_HEIGHT + 0.14 * len(lines)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    layout = figure.add_gridspec(2, len(columns), height_ratios=[rows_height, _LEGEND_HEIGHT])
    grid = [figure.add_subplot(layout[0, column]) for column in range(len(columns))]
    for axes, score in zip(grid, columns, strict=True):
        _panel(axes, scores, reference, score, rows, leads)
        axes.set_title(score_words(score).label, fontsize=9)
        axes.set_yticks([])
    _label_rows(grid[0], rows)
    title = f"{system_label(scores.systems.forecast)} against {system_label(reference)}, days {_span(leads)}"
    if not any(_has_interval(scores, reference, score) for score in tested):
        title += "\nsignificance could not be tested"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, weight="bold")
    _legend(figure.add_subplot(layout[1, :]))
    print_footer(figure, lines)
    return figure


def _has_interval(scores: Scores, reference: str, score: str) -> bool:
    tests = scores.tests(reference, score)
    return tests is not None and bool(tests["ci_low"].notna().any())


def _leads(scores: Scores, reference: str) -> Leads:
    held = scores.difference(reference).columns.to_numpy()
    if not len(held):
        raise UserError(
            f"{scores.systems.forecast} and {reference} share no lead time of {CRPS} in region {scores.region}; "
            "choose another --reference"
        )
    return readable_leads(held, _MOST_DAYS)


def _span(leads: Leads) -> str:
    days = in_days(leads)
    return f"{days[0]:g} to {days[-1]:g}"


def _classes(scores: Scores, reference: str, score: str, region: str) -> pd.Series:
    """Class by (name, lead_time)."""
    here = scores.within(region)
    tests = here.tests(reference, score)
    if tests is None:
        percent = here.difference(reference, score).rename_axis(index="name", columns="lead_time").stack()
        return pd.Series(-np.sign(percent.to_numpy(dtype=float)), percent.index)
    return classify(tests)


def _panel(axes: Axes, scores: Scores, reference: str, score: str, rows: list[tuple[str, str]], leads: Leads) -> None:
    by_region = {region: _classes(scores, reference, score, region) for region in dict(rows)}
    axes.set_xlim(-0.7, len(leads) - 0.3)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    bare(axes)
    days = in_days(leads)
    shown = [index for index, day in enumerate(days) if index == 0 or day % 5 == 0]
    axes.set_xticks(shown, [f"{days[index]:g}" for index in shown])
    axes.set_xlabel("lead time (days)", fontsize=8)
    for row, column, symbol in _symbols(by_region, rows, leads):
        axes.plot(
            column, row, symbol.marker, markersize=symbol.size, color=symbol.color, alpha=symbol.alpha,
            markerfacecolor=symbol.color if symbol.filled else "none", markeredgewidth=0.6, clip_on=False,
        )  # fmt: skip
    for row, (region, _) in enumerate(rows):
        if row and region != rows[row - 1][0]:
            axes.axhline(row - 0.5, color=HAIRLINE, linewidth=0.8)


def _symbols(
    by_region: dict[str, pd.Series], rows: list[tuple[str, str]], leads: Leads
) -> Iterator[tuple[int, int, Symbol]]:
    for row, (region, name) in enumerate(rows):
        for column, lead in enumerate(leads):
            found = by_region[region].get((name, pd.Timedelta(lead)), np.nan)
            if np.isfinite(found):
                yield row, column, SYMBOLS[int(found)]


def _label_rows(axes: Axes, rows: list[tuple[str, str]]) -> None:
    """Names beside the rows, the region beside its first row."""
    axes.set_yticks(range(len(rows)), [short_name(name) for _, name in rows], color=INK, fontsize=7.5)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for row, (region, _) in enumerate(rows):
        if row == 0 or region != rows[row - 1][0]:
            words = region.replace("-", "\n", 1)
            axes.text(-0.36, row - 0.25, words, transform=beside, va="top", color=MUTED, weight="bold", fontsize=8)


def _legend(axes: Axes) -> None:
    axes.set_axis_off()
    # Legends fill columns first: better above worse.
    order = (3, -3, 2, -2, 1, -1, 0)
    axes.legend(
        handles=[_handle(SYMBOLS[level]) for level in order], loc="center", ncols=4, fontsize=7.5, handletextpad=0.2
    )


def _handle(symbol: Symbol) -> Line2D:
    return Line2D(
        [], [], marker=symbol.marker, markersize=symbol.size, linestyle="", color=symbol.color, alpha=symbol.alpha,
        markerfacecolor=symbol.color if symbol.filled else "none", markeredgewidth=0.6, label=symbol.words,
    )  # fmt: skip
