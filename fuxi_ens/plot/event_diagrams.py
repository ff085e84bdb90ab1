"""Diagrams of probabilities of events: reliability, relative operating characteristic, and value for users."""

from collections.abc import Mapping
from typing import Final

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fuxi_ens.plot.diagrams import Curves, system_legend
from fuxi_ens.plot.style import HAIRLINE, INK, RC, WIDTH, LineStyle, short_name

EVENTS: Final = ("quantile_event", "amount_event")
"""Dimensions of events, and how the names of their curves begin."""
_FEWEST_NAMES: Final = 3
"""Of fewer, events lie side by side."""
_LEAST_COLUMNS: Final = 6
_MOST_EVENTS: Final = 4
_THIN: Final = 0.5
"""Part of a system's line width that small panels bear."""
_SHARES: Final = (1e-3, 1.0)
_INSET: Final = (0.57, 0.1, 0.38, 0.26)
"""Left, bottom, width and height of the inset in its panel."""

Place = Mapping[str, object]
"""Name, lead time, region and event of a panel."""
What = tuple[str, str, np.timedelta64]
"""Kind of event, region and lead time of a figure."""


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

    Of one or two names, events are the columns; of many events four are drawn. Bars about the diagonal hold 95 % of the
    points of a reliable forecast; insets show the share of the forecasts in each class. `kind` is one of `EVENTS`.
    """
    figure, panels = _diagrams(curves, styles, (kind, region, lead_time), ("forecast", "observed"))
    for place, axes in panels:
        _square(axes)
        inset = _inset(axes)
        for system, data in curves.items():
            _reliability(axes, inset, data, place, styles[system])
    return figure


@mpl.rc_context(RC)
def roc_diagrams(
    curves: Curves, styles: Mapping[str, LineStyle], kind: str, region: str, lead_time: np.timedelta64
) -> Figure:
    """Hit rate against false-alarm rate for all thresholds of probability; without skill on the diagonal."""
    figure, panels = _diagrams(curves, styles, (kind, region, lead_time), ("false alarms", "hits"))
    for place, axes in panels:
        _square(axes)
        for system, data in curves.items():
            alarm, hit = (_values(data, f"roc_{part}", place) for part in ("false_alarm_rate", "hit_rate"))
            axes.plot(alarm, hit, color=styles[system].color, linewidth=_THIN * styles[system].width)
    return figure


@mpl.rc_context(RC)
def value_diagrams(
    curves: Curves, styles: Mapping[str, LineStyle], kind: str, region: str, lead_time: np.timedelta64
) -> Figure:
    """Relative economic value against the ratio of cost and loss, at the best threshold for each ratio."""
    figure, panels = _diagrams(curves, styles, (kind, region, lead_time), ("cost / loss", "value"))
    for place, axes in panels:
        axes.set(xscale="log", ylim=(0, 1), yticks=[0, 0.5, 1])
        axes.minorticks_off()
        for system, data in curves.items():
            value = _values(data, "relative_value", place)
            axes.plot(data["cost_loss"], value, color=styles[system].color, linewidth=_THIN * styles[system].width)
    return figure


def _diagrams(
    curves: Curves, styles: Mapping[str, LineStyle], what: What, labels: tuple[str, str]
) -> tuple[Figure, list[tuple[Place, Axes]]]:
    """Empty panels with what each of them shows, labeled along the left and the lower edge."""
    first = next(iter(curves.values()))
    kind, region, lead_time = what
    names, events = _names(first, *what), _some([str(event) for event in first[kind].to_numpy()])
    across = len(names) < _FEWEST_NAMES
    rows, columns = (names, events) if across else (events, names)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.7 * len(rows)), layout="constrained")
    # Places that stay empty keep panels of all diagrams equally large.
    grid = figure.add_gridspec(len(rows), max(len(columns), _LEAST_COLUMNS))
    panels: list[tuple[Place, Axes]] = []
    for row, column in np.ndindex(len(rows), len(columns)):
        name, event = (names[row], events[column]) if across else (names[column], events[row])
        axes = figure.add_subplot(grid[row, column])
        panels.append(({"name": name, "lead_time": lead_time, "region": region, kind: event}, axes))
        head, side = (_words(event), short_name(name)) if across else (short_name(name), _words(event))
        axes.set_title(head if row == 0 else "")
        axes.set_ylabel(f"{side}\n{labels[1]}" if column == 0 else "")
        axes.set_xlabel(labels[0] if row == len(rows) - 1 else "")
        axes.tick_params(labelleft=column == 0, labelbottom=row == len(rows) - 1)
    system_legend(figure, curves, styles)
    return figure, panels


def _some(events: list[str]) -> list[str]:
    """All, or so many from one end to the other that the picture stays readable and small."""
    chosen = np.unique(np.linspace(0, len(events) - 1, min(_MOST_EVENTS, len(events))).round().astype(int))
    return [events[index] for index in chosen]


def _words(event: str) -> str:
    return event.replace("_", " ")


def _square(axes: Axes) -> None:
    axes.axline((0, 0), (1, 1), color=INK, linewidth=0.7)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def _values(data: xr.Dataset, score: str, place: Place) -> NDArray[np.float64]:
    """A curve of the kind of event that `place` names."""
    kind = next(kind for kind in EVENTS if kind in place)
    return np.asarray(data[f"{kind}_{score}"].sel(place).to_numpy(), dtype=np.float64)


def _names(data: xr.Dataset, kind: str, region: str, lead_time: np.timedelta64) -> list[str]:
    frequency = data[f"{kind}_reliability_observed_frequency"].sel(lead_time=lead_time, region=region)
    held = frequency.notnull().any(["probability_class", kind])
    return [str(name) for name in frequency["name"].to_numpy()[held.to_numpy()]]


def _reliability(axes: Axes, inset: Axes, data: xr.Dataset, place: Place, style: LineStyle) -> None:
    probability, frequency, half, weight = (
        _values(data, f"reliability_{part}", place)
        for part in ("forecast_probability", "observed_frequency", "consistency", "weight")
    )
    axes.errorbar(probability, probability, half, fmt="none", ecolor=style.color, elinewidth=2.2, alpha=0.3)
    axes.plot(probability, frequency, color=style.color, linewidth=_THIN * style.width, marker="o", markersize=2.2)
    edges = np.linspace(0, 1, len(weight) + 1)
    inset.stairs(np.nan_to_num(weight), edges, color=style.color, linewidth=0.7, baseline=_SHARES[0])


def _inset(axes: Axes) -> Axes:
    """Room for shares of the forecasts by class, on a logarithmic axis."""
    inset = axes.inset_axes(_INSET)
    inset.set(yscale="log", ylim=_SHARES, xlim=(0, 1), xticks=[], yticks=[])
    inset.minorticks_off()
    inset.grid(visible=False)
    inset.patch.set_alpha(0.8)
    for side in inset.spines.values():
        side.set(visible=True, color=HAIRLINE)
    return inset
