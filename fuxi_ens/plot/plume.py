"""The plume: all members of one forecast at one place against valid time, with truth and baseline."""

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fuxi_ens.plot import style
from fuxi_ens.plot.fields import Case, Place

BANDS: Final = ((0.05, 0.95, 0.16), (0.25, 0.75, 0.26))
"""Lower quantile, upper quantile, opacity."""
_OURS: Final = style.ROLE_STYLES["forecast"]
_THEIRS: Final = style.ROLE_STYLES["baseline"]

Times = NDArray[np.datetime64]
Values = NDArray[np.floating]


@mpl.rc_context(style.RC)
def plume(cases: Sequence[Case], place: Place, baseline_name: str = "baseline", title: str = "") -> Figure:
    """One panel per case, all from one init time, at the grid point nearest to `place`."""
    figure = Figure(figsize=(style.WIDTH, 0.8 + 2.2 * len(cases)), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", color=style.MUTED, fontsize=9)
    for index, case in enumerate(cases):
        axes = figure.add_subplot(len(cases), 1, index + 1)
        _panel(axes, case.at_place(place), style.system_label(baseline_name))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    # Two lines at most: the names of baselines can be long. Under a title there is no room above.
    figure.legend(
        handles,
        labels,
        loc="outside lower left" if title else "outside upper left",
        ncols=-(-len(labels) // 2),
        handlelength=1.8,
    )
    return figure


def plume_caption(case: Case, place: Place) -> str:
    """Where and when a plume is, with the grid point that stands for the place."""
    point = case.at_place(place).forecast
    grid_point = Place("grid point", float(point["latitude"][0]), float(point["longitude"][0]))
    return f"{place}, drawn at the nearest {grid_point}; init {pd.Timestamp(case.init_time):%Y-%m-%d %H} UTC."


def _panel(axes: Axes, point: Case, baseline_name: str) -> None:
    valid_times = point.init_time + point.forecast["lead_time"].to_numpy()
    _draw_forecast(axes, valid_times, series(point.forecast, point.name))
    if point.control is not None:
        line: dict[str, Any] = {"color": style.CONTROL_COLOR, "linewidth": 1.6, "linestyle": style.CONTROL_DASHES}
        axes.plot(valid_times, series(point.control, point.name)[0], label="control", zorder=5.5, **line)
    if point.baseline is not None:
        there = point.init_time + point.baseline["lead_time"].to_numpy()
        _draw_baseline(axes, there, series(point.baseline, point.name), baseline_name)
    if point.truth.sizes["valid_time"]:
        truth = series(point.truth.rename(valid_time="lead_time"), point.name)[0]
        line = {"color": style.TRUTH_COLOR, "linewidth": 1.6, "zorder": 6}
        axes.plot(point.truth["valid_time"].to_numpy(), truth, label="truth", **line)
    axes.set_title(style.long_name(point.name))
    axes.set_ylabel(style.field_units(point.name))
    _time_axis(axes, valid_times)


def _draw_forecast(axes: Axes, valid_times: Times, members: Values) -> None:
    axes.plot(valid_times, members.T, color=_OURS.color, linewidth=0.45, alpha=0.4, zorder=2)
    for low, high, opacity in BANDS:
        lower, upper = np.quantile(members, [low, high], axis=0)
        label = f"{100 * (high - low):.0f} % of {len(members)} members"
        axes.fill_between(
            valid_times, lower, upper, color=_OURS.color, alpha=opacity, linewidth=0, zorder=3, label=label
        )
    mean = members.mean(axis=0)
    axes.plot(valid_times, mean, color=_OURS.color, linewidth=_OURS.width, zorder=5, label="ensemble mean")


def _draw_baseline(axes: Axes, valid_times: Times, members: Values, name: str) -> None:
    line: dict[str, Any] = {"color": _THEIRS.color, "zorder": 4}
    axes.plot(valid_times, members.mean(axis=0), linewidth=_THEIRS.width, label=f"{name}, mean", **line)
    low, high, _ = BANDS[0]
    line |= {"linewidth": 1.0, "linestyle": (0, (3, 1.5))}
    label = f"{name}, {100 * (high - low):.0f} %"
    for quantile, text in ((low, label), (high, None)):
        axes.plot(valid_times, np.quantile(members, quantile, axis=0), label=text, **line)


def series(field: xr.DataArray, name: str) -> Values:
    """Values at the one point of a field, [number, lead_time] in chart units; a truth has one row."""
    values = field.squeeze(["latitude", "longitude"])
    if "number" not in values.dims:
        values = values.expand_dims("number")
    return style.chart_units(name).field(values.transpose("number", "lead_time").to_numpy())


def _time_axis(axes: Axes, valid_times: Times) -> None:
    # Matplotlib's date classes carry no annotations.
    locator: Any = dates.AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlim(valid_times[0], valid_times[-1])
