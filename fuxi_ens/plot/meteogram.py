"""The meteogram: box plots of the members at one place against valid time, one panel per quantity."""

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import NDArray

from fuxi_ens.channels import DERIVED_SPEED, channel, components
from fuxi_ens.plot import style
from fuxi_ens.plot.fields import Case, Place
from fuxi_ens.plot.place_title import place_title
from fuxi_ens.plot.plume import series

QUANTILES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Whisker, narrow box, wide box, median, wide box, narrow box, whisker; linear interpolation between members."""
_COLOR: Final = style.ROLE_STYLES["forecast"].color
_LIGHT: Final = "#9fc6e2"
_TRUTH: Final = "#D55E00"
"""Not the ink of other figures, which is the median's here."""
_CONTROL: Final[dict[str, Any]] = {
    "color": style.CONTROL_COLOR,
    "linewidth": 1.3,
    "linestyle": style.CONTROL_DASHES,
}


@mpl.rc_context(style.RC)
def meteogram(cases: Sequence[Case], place: Place, system: str) -> Figure:
    """One panel per case, all from one init time, of one grid point."""
    figure = Figure(figsize=(style.WIDTH, 1.3 + 1.75 * len(cases)), layout="constrained")
    figure.suptitle(place_title(cases[0], place, system), x=0.01, ha="left", color=style.MUTED, fontsize=9)
    panels: list[Axes] = []
    for index, case in enumerate(cases):
        axes = figure.add_subplot(len(cases), 1, index + 1, sharex=panels[0] if panels else None)
        panels.append(axes)
        _panel(axes, case)
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False)
    _time_axis(panels[-1], cases[0])
    _lead_axis(panels[0], cases[0])
    key = _key(cases)
    # One line of the usual five; with the control member two.
    figure.legend(handles=key, loc="outside lower left", ncols=min(len(key), 5), handlelength=1.6)
    return figure


def _panel(axes: Axes, case: Case) -> None:
    at = style.in_days(case.forecast["lead_time"].to_numpy())
    members = series(case.forecast, case.name)
    low, tenth, quarter, median, three_quarters, ninetieth, high = np.quantile(members, QUANTILES, axis=0)
    step = _step(at)
    axes.vlines(at, low, high, color=_COLOR, linewidth=0.7, zorder=2)
    box: dict[str, Any] = {"color": _LIGHT, "edgecolor": _COLOR, "linewidth": 0.5}
    axes.bar(at, ninetieth - tenth, 0.42 * step, tenth, zorder=3, **box)
    axes.bar(at, three_quarters - quarter, 0.78 * step, quarter, zorder=4, **box)
    axes.hlines(median, at - 0.39 * step, at + 0.39 * step, color=style.INK, linewidth=1.2, zorder=5)
    if case.control is not None:
        axes.plot(at, series(case.control, case.name)[0], zorder=5.5, **_CONTROL)
    if case.truth.sizes["valid_time"]:
        truth = series(case.truth.rename(valid_time="lead_time"), case.name)[0]
        line: dict[str, Any] = {"color": _TRUTH, "linewidth": 0.9, "marker": "o", "markersize": 2.2, "zorder": 6}
        axes.plot(style.in_days(case.truth["valid_time"].to_numpy() - case.init_time), truth, **line)
    axes.set_title(f"{style.long_name(case.name)} ({style.field_units(case.name)})")
    if case.name in DERIVED_SPEED or channel(components(case.name)[0]).variable.accumulated:
        axes.set_ylim(bottom=0.0)


def _step(at: NDArray[np.float64]) -> float:
    """Days that one box may take; those of a daily forecast stay slim."""
    return min(0.5, float(np.diff(at).min())) if len(at) > 1 else 0.25


def _time_axis(axes: Axes, case: Case) -> None:
    """Days of the valid time below the panels: a tick at each 00 UTC, or at every other of a long forecast."""
    last = case.forecast["lead_time"].to_numpy()[-1]
    days = pd.date_range(case.init_time, case.init_time + last, freq="D").ceil("D").unique()
    days = days[:: 1 + len(days) // 17]
    ticks = style.in_days(days.to_numpy() - case.init_time)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FixedFormatter([_day_label(day, days[0]) for day in days]))
    at = style.in_days(case.forecast["lead_time"].to_numpy())
    axes.set_xlim(min(0.0, at[0] - 0.5 * _step(at)), at[-1] + 0.5 * _step(at))
    axes.set_xlabel("valid time, ticks at 00 UTC", fontsize=8)


def _day_label(day: pd.Timestamp, first: pd.Timestamp) -> str:
    """`Wed 22`; the first and each first of a month also with month and year."""
    return f"{day:%a %d}\n{day:%b %Y}" if day == first or day.day == 1 else f"{day:%a %d}"


def _lead_axis(axes: Axes, case: Case) -> None:
    """Days since the init time, above the panels."""
    above = axes.secondary_xaxis("top")
    last = float(style.in_days(case.forecast["lead_time"].to_numpy()[-1]))
    above.xaxis.set_major_locator(FixedLocator([float(day) for day in range(int(last) + 1)]))
    above.set_xlabel("lead time (days)", fontsize=8, color=style.MUTED)


def _key(cases: Sequence[Case]) -> list[Any]:
    """What the parts of a box and the lines mean."""
    key: list[Any] = [
        Line2D([], [], color=style.INK, linewidth=1.4, label="median"),
        Patch(facecolor=_LIGHT, edgecolor=_COLOR, linewidth=0.6, label="wide box: 25 to 75 %"),
        Patch(facecolor=_LIGHT, edgecolor=_COLOR, linewidth=0.5, label="narrow box: 10 to 90 %"),
        Line2D([], [], color=_COLOR, linewidth=0.8, label="line: least and largest member"),
    ]
    if any(case.control is not None for case in cases):
        key.append(Line2D([], [], label="control", **_CONTROL))
    if any(case.truth.sizes["valid_time"] for case in cases):
        key.append(Line2D([], [], color=_TRUTH, linewidth=0.9, marker="o", markersize=3, label="truth"))
    return key
