"""Scorecard in the style of WeatherBench 2: systems by days, color by percent, the score itself printed."""

from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fuxi_ens.plot.card_parts import bare, footer_lines, print_footer, wins_label
from fuxi_ens.plot.classes import class_bar, class_colors, class_norm, text_color
from fuxi_ens.plot.score_words import score_units, score_words
from fuxi_ens.plot.style import HAIRLINE, INK, MUTED, RC, WIDTH, in_days, long_name, system_label
from fuxi_ens.plot.summary import three_digits
from fuxi_ens.plot.table import CRPS, Scores, readable_leads
from fuxi_ens.times import Leads, hours

DAYS: Final = (1, 3, 5, 10, 15)
_COLUMNS: Final = 3
_FEWEST: Final = 2
"""Of `DAYS`; a forecast with fewer is shown at the lead times it has."""


@mpl.rc_context(RC)
def weatherbench_card(scores: Scores, references: tuple[str, ...], footer: str) -> Figure:
    """One panel per scored name; rows are the first of `references`, our forecast, then all others."""
    reference = references[0]
    order = [reference, *(system for system in scores.present.values() if system != reference)]
    leads = card_leads(scores)
    columns = min(_COLUMNS, len(scores.names))
    rows = -(-len(scores.names) // columns)
    lines = footer_lines(footer)
    height = 1.35 + rows * (0.62 + 0.27 * len(order)) + 0.14 * len(lines)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(panels.flat):
        if index >= len(scores.names):
            axes.set_axis_off()
            continue
        _panel(axes, scores, scores.names[index], order, leads)
        if index % columns:
            axes.set_yticklabels([])
        if index >= len(scores.names) - columns:
            axes.set_xlabel("lead time (days)", fontsize=8)
    figure.suptitle(_title(scores, reference), x=0.01, ha="left", fontsize=10.5, weight="bold")
    against = f"{score_words(CRPS).label} against {system_label(reference)} (%); blue is better, red is worse"
    class_bar(figure, list(panels.flat), against)
    print_footer(figure, lines)
    return figure


def card_leads(scores: Scores) -> Leads:
    """The days of the card that our forecast has; where it has less than two of them, few of its lead times."""
    ours = scores.here[scores.here["system"] == scores.systems.forecast]
    held = np.unique(ours["lead_time"].to_numpy())
    wanted = np.array([hours(24 * day) for day in DAYS])
    chosen = wanted[np.isin(wanted, held)]
    return chosen if len(chosen) >= _FEWEST else readable_leads(held, len(DAYS))


def _title(scores: Scores, reference: str) -> str:
    title = f"{score_words(CRPS).label} against {system_label(reference)}, {scores.region}"
    won = scores.wins.get(reference)
    return f"{title}\n{system_label(scores.systems.forecast)} {wins_label(won)}" if won else title


def _panel(axes: Axes, scores: Scores, name: str, order: list[str], leads: Leads) -> None:
    units = score_units(CRPS, name)
    curves = [scores.curve(system, name, CRPS).reindex(pd.TimedeltaIndex(leads)) for system in order]
    values = np.array([curve.to_numpy(dtype=float) for curve in curves])
    percent = 100.0 * (values / np.where(values[0] != 0, values[0], np.nan) - 1.0)
    percent[0] = np.nan
    axes.pcolormesh(
        np.ma.masked_invalid(percent), cmap=class_colors(), norm=class_norm(), edgecolors="white", linewidth=1.2
    )
    bare(axes)
    axes.set_title(f"{long_name(name)} ({units.label})", fontsize=8.5)
    axes.set_yticks(np.arange(len(order)) + 0.5, [system_label(system) for system in order], color=INK)
    axes.set_xticks(np.arange(len(leads)) + 0.5, [f"{day:g}" for day in in_days(leads)])
    for (row, column), value in np.ndenumerate(values):
        relative = float(percent[row, column])
        color = MUTED if row == 0 else text_color(relative) if np.isfinite(relative) else INK
        shown = three_digits(value * units.factor)
        axes.text(
            column + 0.5, row + 0.5, shown, ha="center", va="center", fontsize=7.5,
            color=color if np.isfinite(value) else HAIRLINE,
        )  # fmt: skip
