"""Scores against lead time: one panel per scored name, one curve per system."""

from collections.abc import Iterator, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fuxi_ens.errors import UserError
from fuxi_ens.plot import table
from fuxi_ens.plot.style import (
    INK,
    MUTED,
    RC,
    WIDTH,
    display_units,
    in_days,
    lead_axis,
    long_name,
    system_label,
)
from fuxi_ens.plot.table import Scores

_COLUMNS = 3


@mpl.rc_context(RC)
def crps_curves(scores: Scores) -> Figure:
    """CRPS of every system; lower is better."""
    figure = Figure(layout="constrained")
    for axes, name in _panels(figure, scores):
        for system in scores.present.values():
            _line(axes, scores, system, name, table.CRPS)
        axes.set_ylim(bottom=0.0)
    _legend(figure, scores, tuple(scores.present.values()))
    return figure


@mpl.rc_context(RC)
def skill_spread_curves(scores: Scores) -> Figure:
    """RMSE of the ensemble mean (solid) and spread (dashed); in a reliable ensemble the two agree."""
    figure = Figure(layout="constrained")
    systems = [system for system in scores.holding(table.SPREAD) if system != scores.systems.climatology]
    for axes, name in _panels(figure, scores):
        for system in systems:
            _line(axes, scores, system, name, table.RMSE, "solid")
            _line(axes, scores, system, name, table.SPREAD, (0, (3, 1.5)))
        axes.set_ylim(bottom=0.0)
    meaning = [
        Line2D([], [], color=MUTED, label="RMSE of the ensemble mean"),
        Line2D([], [], color=MUTED, linestyle=(0, (3, 1.5)), label="spread"),
    ]
    _legend(figure, scores, systems, meaning)
    return figure


@mpl.rc_context(RC)
def spread_skill_ratio_curves(scores: Scores) -> Figure:
    """Spread-skill ratio: 1 is reliable, below 1 the ensemble is too sure of itself."""
    figure = Figure(layout="constrained")
    systems = scores.holding(table.SPREAD_SKILL_RATIO)
    for axes, name in _panels(figure, scores, dimensionless=True):
        for system in systems:
            _line(axes, scores, system, name, table.SPREAD_SKILL_RATIO)
        axes.axhline(1.0, color=INK, linewidth=0.8)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0.5), max(high, 1.2))
    _legend(figure, scores, systems)
    return figure


@mpl.rc_context(RC)
def crpss_curves(scores: Scores) -> Figure:
    """CRPS skill score against climatology: 1 is perfect, 0 is no better than climatology."""
    figure = Figure(layout="constrained")
    systems = scores.holding(table.CRPSS)
    for axes, name in _panels(figure, scores, dimensionless=True):
        for system in systems:
            _line(axes, scores, system, name, table.CRPSS)
        axes.axhline(0.0, color=INK, linewidth=0.8)
        # A bad forecast falls far below zero; the panel is about where skill is gained or lost.
        axes.set_ylim(max(axes.get_ylim()[0], -0.5), 1.0)
    _legend(figure, scores, systems)
    return figure


@mpl.rc_context(RC)
def difference_curves(scores: Scores, reference: str) -> Figure:
    """CRPS of our forecast against a reference in percent, with the confidence interval of the table's tests.

    Raises UserError for a table without tests of this reference.
    """
    tests = scores.tests(reference)
    if tests is None:
        raise UserError(f"the table has no tests of {table.CRPS} against {reference}")
    figure = Figure(layout="constrained")
    for axes, name in _panels(figure, scores, dimensionless=True):
        theirs = scores.curve(reference, name, table.CRPS)
        cells = tests.xs(name).reindex(theirs.index) if name in tests.index else tests.iloc[:0]
        percent = 100.0 * cells[["value", "ci_low", "ci_high"]].astype(float).div(theirs.where(theirs != 0), axis=0)
        days = in_days(percent.index.to_numpy())
        style = scores.style(scores.systems.forecast)
        axes.fill_between(days, percent["ci_low"], percent["ci_high"], color=style.color, alpha=0.18, linewidth=0)
        axes.plot(days, percent["value"], color=style.color, linewidth=1.6, marker="o" if len(days) == 1 else "")
        axes.axhline(0.0, color=INK, linewidth=0.8)
        axes.set_ylabel("difference (%)")
    return figure


def _panels(figure: Figure, scores: Scores, *, dimensionless: bool = False) -> Iterator[tuple[Axes, str]]:
    names = scores.names
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure.set_size_inches(WIDTH * columns / _COLUMNS, 2.3 * rows + 0.5)
    last = float(in_days(np.array([scores.last_lead]))[0])
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.set_title(long_name(name))
        if not dimensionless:
            axes.set_ylabel(display_units(name).label)
        lead_axis(axes, last, label=index >= len(names) - columns)
        yield axes, name


def _line(axes: Axes, scores: Scores, system: str, name: str, score: str, dashes: object = None) -> None:
    curve = scores.curve(system, name, score)
    style = scores.style(system)
    factor = display_units(name).factor if score in {table.CRPS, table.RMSE, table.SPREAD} else 1.0
    axes.plot(
        in_days(curve.index.to_numpy()),
        curve.to_numpy() * factor,
        color=style.color,
        linestyle=style.dashes if dashes is None else dashes,
        linewidth=style.width,
        zorder=style.layer,
        # A single lead time would leave an invisible curve.
        marker="o" if len(curve) == 1 else "",
        label=system_label(system),
    )


def _legend(figure: Figure, scores: Scores, systems: Sequence[str], meaning: Sequence[Line2D] = ()) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=scores.style(system).color,
            linestyle="solid" if meaning else scores.style(system).dashes,
            linewidth=scores.style(system).width,
            label=system_label(system),
        )
        for system in systems
    ]
    handles.extend(meaning)
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handlelength=2.6)
