"""Diagrams of probabilities of events: reliability, relative operating characteristic, and value for users."""

from collections.abc import Callable, Mapping
from typing import Final

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fuxi_ens.plot.diagrams import Curves, system_legend
from fuxi_ens.plot.style import HAIRLINE, INK, RC, WIDTH, LineStyle, short_name

EVENTS: Final = ("quantile_event", "amount_event")
"""Dimensions of events, and how the names of their curves begin."""
_FEWEST_COLUMNS: Final = 3
_INSET: Final = (0.57, 0.1, 0.38, 0.26)
"""Left, bottom, width and height of the inset in its panel."""

Place = Mapping[str, object]
Panel = Callable[[Axes, xr.Dataset, str, Place, LineStyle], None]
"""Draws the curve of one system into a panel."""


def event_kinds(curves: Curves, region: str, lead_time: np.timedelta64) -> tuple[str, ...]:
    """Of `EVENTS`, those with a reliability diagram in the first system: scored there, for one name at least."""
    first = next(iter(curves.values()), xr.Dataset())
    return tuple(
        kind
        for kind in EVENTS
        if f"{kind}_reliability_observed_frequency" in first and _names(first, kind, region, lead_time)
    )


@mpl.rc_context(RC)
def reliability_diagrams(
    curves: Curves, styles: Mapping[str, LineStyle], kind: str, region: str, lead_time: np.timedelta64
) -> Figure:
    """Rows are events, columns scored names, one line per system; a reliable forecast lies on the diagonal.

    Bars about the diagonal hold 95 % of the points of a reliable forecast; insets show the share of the forecasts in
    each class. `kind` is one of `EVENTS`.
    """
    figure = _diagrams(curves, styles, kind, region, lead_time, _reliability)
    for axes in figure.axes:
        axes.axline((0, 0), (1, 1), color=INK, linewidth=0.7)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    _label(figure, "forecast", "observed")
    _insets(figure, curves, styles, kind, region, lead_time)
    return figure


@mpl.rc_context(RC)
def roc_diagrams(
    curves: Curves, styles: Mapping[str, LineStyle], kind: str, region: str, lead_time: np.timedelta64
) -> Figure:
    """Hit rate against false-alarm rate for all thresholds of probability; without skill on the diagonal."""
    figure = _diagrams(curves, styles, kind, region, lead_time, _roc)
    for axes in figure.axes:
        axes.axline((0, 0), (1, 1), color=INK, linewidth=0.7)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    _label(figure, "false alarms", "hits")
    return figure


@mpl.rc_context(RC)
def value_diagrams(
    curves: Curves, styles: Mapping[str, LineStyle], kind: str, region: str, lead_time: np.timedelta64
) -> Figure:
    """Relative economic value against the ratio of cost and loss, at the best threshold for each ratio."""
    figure = _diagrams(curves, styles, kind, region, lead_time, _value)
    for axes in figure.axes:
        axes.set(xscale="log", ylim=(0, 1))
    _label(figure, "cost / loss", "value")
    return figure


def _diagrams(
    curves: Curves, styles: Mapping[str, LineStyle], kind: str, region: str, lead_time: np.timedelta64, panel: Panel
) -> Figure:
    """A panel per event (row) and name (column) with the curves of all systems."""
    first = next(iter(curves.values()))
    names = _names(first, kind, region, lead_time)
    events = _events(first, kind)
    width = min(WIDTH, WIDTH * max(len(names), _FEWEST_COLUMNS) / 6)
    figure = Figure(figsize=(width, 0.6 + 1.6 * len(events)), layout="constrained")
    grid = figure.subplots(len(events), len(names), sharex=True, sharey=True, squeeze=False)
    for row, event in enumerate(events):
        for column, name in enumerate(names):
            place = {"name": name, "lead_time": lead_time, "region": region, kind: event}
            for system, data in curves.items():
                panel(grid[row, column], data, kind, place, styles[system])
    for column, name in enumerate(names):
        grid[0, column].set_title(short_name(name))
    for row, event in enumerate(events):
        grid[row, 0].set_ylabel(event.replace("_", " "))
    system_legend(figure, curves, styles)
    return figure


def _label(figure: Figure, below: str, left: str) -> None:
    """Name the axes of the outer panels; rows already carry their event."""
    for axes in figure.axes:
        place = axes.get_subplotspec()
        if place is not None and place.is_last_row():
            axes.set_xlabel(below)
        if place is not None and place.is_first_col():
            axes.set_ylabel(f"{axes.get_ylabel()}\n{left}")


def _events(data: xr.Dataset, kind: str) -> list[str]:
    return [str(event) for event in data[kind].to_numpy()]


def _names(data: xr.Dataset, kind: str, region: str, lead_time: np.timedelta64) -> list[str]:
    frequency = data[f"{kind}_reliability_observed_frequency"].sel(lead_time=lead_time, region=region)
    held = frequency.notnull().any(["probability_class", kind])
    return [str(name) for name in frequency["name"].to_numpy()[held.to_numpy()]]


def _reliability(axes: Axes, data: xr.Dataset, kind: str, place: Place, style: LineStyle) -> None:
    probability, frequency = (
        data[f"{kind}_reliability_{part}"].sel(place).to_numpy()
        for part in ("forecast_probability", "observed_frequency")
    )
    axes.plot(probability, frequency, color=style.color, linewidth=0.45 * style.width, marker="o", markersize=2.2)
    half = data[f"{kind}_reliability_consistency"].sel(place).to_numpy()
    axes.errorbar(probability, probability, half, fmt="none", ecolor=style.color, elinewidth=2.2, alpha=0.3)


def _insets(
    figure: Figure,
    curves: Curves,
    styles: Mapping[str, LineStyle],
    kind: str,
    region: str,
    lead_time: np.timedelta64,
) -> None:
    """Shares of the forecasts by class in each panel, on a logarithmic axis from 0.1 % to all."""
    first = next(iter(curves.values()))
    names = _names(first, kind, region, lead_time)
    panels = list(figure.axes)
    for index, axes in enumerate(panels):
        event, name = _events(first, kind)[index // len(names)], names[index % len(names)]
        inset = axes.inset_axes(_INSET)
        for system, data in curves.items():
            place = {"name": name, "lead_time": lead_time, "region": region, kind: event}
            weight = data[f"{kind}_reliability_weight"].sel(place).to_numpy()
            edges = np.linspace(0, 1, len(weight) + 1)
            inset.stairs(np.nan_to_num(weight), edges, color=styles[system].color, linewidth=0.7, baseline=1e-3)
        inset.set(yscale="log", ylim=(1e-3, 1), xlim=(0, 1), xticks=[], yticks=[])
        inset.minorticks_off()
        inset.grid(visible=False)
        inset.patch.set_alpha(0.8)
        for side in inset.spines.values():
            side.set(visible=True, color=HAIRLINE)


def _roc(axes: Axes, data: xr.Dataset, kind: str, place: Place, style: LineStyle) -> None:
    alarm, hit = (data[f"{kind}_roc_{part}"].sel(place).to_numpy() for part in ("false_alarm_rate", "hit_rate"))
    axes.plot(alarm, hit, color=style.color, linewidth=0.5 * style.width)


def _value(axes: Axes, data: xr.Dataset, kind: str, place: Place, style: LineStyle) -> None:
    value = data[f"{kind}_relative_value"].sel(place)
    axes.plot(value["cost_loss"], value, color=style.color, linewidth=0.5 * style.width)
