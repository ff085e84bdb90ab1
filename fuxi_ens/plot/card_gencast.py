"""Scorecard in the style of GenCast: a panel per variable, levels by lead times, hatched where it may be chance."""

from collections.abc import Mapping
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from fuxi_ens.channels import channel, components
from fuxi_ens.plot.card_parts import bare, footer_lines, print_footer, wins_label
from fuxi_ens.plot.classes import class_bar, class_colors, class_norm
from fuxi_ens.plot.score_words import score_words
from fuxi_ens.plot.style import INK, MUTED, RC, WIDTH, in_days, long_name, short_name, system_label
from fuxi_ens.plot.table import CRPS, Scores
from fuxi_ens.times import Leads

_SURFACE: Final = "Surface"
_MOST_REFERENCES: Final = 3
_MOST_FRAMED: Final = 30
"""Columns, above which frames of cells would hide their colors."""
_LABELED_DAYS: Final = (1, 3, 5, 7, 10, 15, 20, 30)


@mpl.rc_context(RC)
def gencast_card(scores: Scores, references: tuple[str, ...], footer: str) -> Figure:
    """Columns of panels are `references`, at most three; every lead time is drawn."""
    references = references[:_MOST_REFERENCES]
    panels = variable_panels(scores.names)
    heights = [len(names) for names in panels.values()]
    lines = footer_lines(footer)
    height = 1.6 + 0.24 * sum(heights) + 0.34 * len(panels) + 0.14 * len(lines)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(len(panels), len(references), squeeze=False, height_ratios=heights)
    for column, reference in enumerate(references):
        for row, (title, names) in enumerate(panels.items()):
            _panel(grid[row, column], scores, reference, names)
            grid[row, column].set_title(title, fontsize=8.5, pad=4)
            if column:
                grid[row, column].set_yticklabels([])
            if row < len(panels) - 1:
                grid[row, column].set_xticklabels([])
        grid[-1, column].set_xlabel("lead time (days)", fontsize=8)
        heading = _heading(scores, reference, len(references))
        grid[0, column].set_title(f"{heading}\n\n{next(iter(panels))}", fontsize=8.5)
    figure.suptitle(
        f"{score_words(CRPS).label} of {system_label(scores.systems.forecast)} relative to each reference, "
        f"{scores.region}",
        x=0.01, ha="left", fontsize=10.5, weight="bold",
    )  # fmt: skip
    hatched = "; hatched: not significant" if any(_is_tested(scores, one) for one in references) else ""
    class_bar(figure, list(grid.flat), f"difference in CRPS (%); blue is better, red is worse{hatched}")
    print_footer(figure, lines)
    return figure


def variable_panels(names: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Names by panel: a variable with its levels in the given order, then all surface names together."""
    panels: dict[str, tuple[str, ...]] = {}
    surface: tuple[str, ...] = ()
    for name in names:
        first = channel(components(name)[0])
        if first.level is None:
            surface = (*surface, name)
            continue
        title = long_name(name).removesuffix(f" at {first.level} hPa")
        panels[title] = (*panels.get(title, ()), name)
    return panels | ({_SURFACE: surface} if surface else {})


def _heading(scores: Scores, reference: str, columns: int) -> str:
    heading = f"against {system_label(reference)}"
    won = scores.wins.get(reference)
    if won is None:
        return heading
    label = wins_label(won)
    if columns > 1:
        label = label.replace(", worse", ",\nworse").replace("; significance", ";\nsignificance")
    return f"{heading}\n{label}"


def _is_tested(scores: Scores, reference: str) -> bool:
    won = scores.wins.get(reference)
    return scores.significant(reference) is not None and (won is None or won.tested > 0)


def _panel(axes: Axes, scores: Scores, reference: str, names: tuple[str, ...]) -> None:
    percent = scores.difference(reference).reindex(index=list(names))
    axes.pcolormesh(
        np.ma.masked_invalid(percent.to_numpy(dtype=float)), cmap=class_colors(), norm=class_norm(),
        edgecolors="white", linewidth=0.6 if percent.shape[1] <= _MOST_FRAMED else 0.0,
    )  # fmt: skip
    bare(axes)
    axes.set_yticks(np.arange(len(names)) + 0.5, [_row_label(name) for name in names], color=INK)
    _label_days(axes, percent.columns.to_numpy())
    significant = scores.significant(reference)
    if significant is None or not _is_tested(scores, reference):
        return
    doubtful = percent.notna() & ~significant.reindex_like(percent).eq(other=True)
    _hatch(axes, np.argwhere(doubtful.to_numpy()))


def _row_label(name: str) -> str:
    level = channel(components(name)[0]).level
    return f"{level} hPa" if level else short_name(name)


def _label_days(axes: Axes, leads: Leads) -> None:
    days = in_days(leads)
    places = [index for index, day in enumerate(days) if day in _LABELED_DAYS] or list(range(len(days)))
    axes.set_xticks([place + 0.5 for place in places], [f"{days[place]:g}" for place in places])


def _hatch(axes: Axes, cells: np.ndarray) -> None:
    """Hatch (row, column) cells, untested ones too, in a gray that leaves the color below visible."""
    corners = [[(c, r), (c + 1, r), (c + 1, r + 1), (c, r + 1)] for r, c in cells]
    axes.add_collection(
        PolyCollection(corners, facecolor="none", edgecolor=MUTED, hatch="/////", linewidth=0.0, alpha=0.75),
        autolim=False,
    )
