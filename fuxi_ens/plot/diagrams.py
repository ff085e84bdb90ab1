"""Diagrams of scores with further dimensions: reliability of probabilities, and power by scale."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fuxi_ens.plot.style import (
    HAIRLINE,
    INK,
    MUTED,
    RC,
    TRUTH_COLOR,
    WIDTH,
    LineStyle,
    long_name,
    short_name,
    system_label,
)

EVENTS = ("quantile_event", "amount_event")
"""Dimensions of events, and how the names of their curves begin."""
_COLUMNS = 3

Curves = Mapping[str, xr.Dataset]
"""By system, what `verify.scorecard.curves` gives."""


def event_kinds(curves: Curves, region: str, lead_time: np.timedelta64) -> tuple[str, ...]:
    """Of `EVENTS`, those with a reliability diagram in the first system: scored there, for one name at least."""
    first = next(iter(curves.values()), xr.Dataset())
    return tuple(
        kind
        for kind in EVENTS
        if f"{kind}_reliability_observed_frequency" in first and _reliable_names(first, kind, region, lead_time)
    )


def has_spectra(curves: Curves, lead_time: np.timedelta64) -> bool:
    """Whether the first system has the spectrum of one name at least."""
    first = next(iter(curves.values()), xr.Dataset())
    return "power_truth" in first and bool(_spectral_names(first, lead_time))


@mpl.rc_context(RC)
def reliability_diagrams(
    curves: Curves, styles: Mapping[str, LineStyle], kind: str, region: str, lead_time: np.timedelta64
) -> Figure:
    """Rows are events, columns scored names, one line per system; a reliable forecast lies on the diagonal.

    `kind` is one of `EVENTS`. Dots are as large as the share of the forecasts in their class.
    """
    first = next(iter(curves.values()))
    names = _reliable_names(first, kind, region, lead_time)
    events = [str(event) for event in first[kind].to_numpy()]
    width = WIDTH * max(len(names), _COLUMNS) / 6
    figure = Figure(figsize=(min(width, WIDTH), 0.6 + 1.6 * len(events)), layout="constrained")
    grid = figure.subplots(len(events), len(names), sharex=True, sharey=True, squeeze=False)
    for row, event in enumerate(events):
        for column, name in enumerate(names):
            axes = grid[row, column]
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7)
            place = {"name": name, "lead_time": lead_time, "region": region, kind: event}
            for system, data in curves.items():
                _reliability(axes, data, kind, place, styles[system])
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
            if row == 0:
                axes.set_title(short_name(name))
            if column == 0:
                axes.set_ylabel(f"{event.replace('_', ' ')}\nobserved")
            if row == len(events) - 1:
                axes.set_xlabel("forecast")
    _legend(figure, curves, styles)
    return figure


def _reliable_names(data: xr.Dataset, kind: str, region: str, lead_time: np.timedelta64) -> list[str]:
    frequency = data[f"{kind}_reliability_observed_frequency"].sel(lead_time=lead_time, region=region)
    held = frequency.notnull().any(["probability_class", kind])
    return [str(name) for name in frequency["name"].to_numpy()[held.to_numpy()]]


def _reliability(axes: Axes, data: xr.Dataset, kind: str, place: Mapping[str, object], style: LineStyle) -> None:
    stem = f"{kind}_reliability"
    probability, frequency, weight = (
        data[f"{stem}_{part}"].sel(place).to_numpy()
        for part in ("forecast_probability", "observed_frequency", "weight")
    )
    axes.plot(probability, frequency, color=style.color, linewidth=0.9 * style.width / 2)
    axes.scatter(probability, frequency, s=4 + 60 * np.sqrt(np.nan_to_num(weight)), color=style.color, alpha=0.7)


@mpl.rc_context(RC)
def spectra(curves: Curves, styles: Mapping[str, LineStyle], lead_time: np.timedelta64) -> Figure:
    """Power by spherical-harmonic degree: members (solid), ensemble mean (dashed), truth (black).

    Names without a spectrum, for fields with gaps, are left out.
    """
    names = _spectral_names(next(iter(curves.values())), lead_time)
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH * columns / _COLUMNS, 2.4 * rows + 0.5), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.set_title(long_name(name))
        axes.set(xscale="log", yscale="log")
        for system, data in curves.items():
            style = styles[system]
            for part, color, dashes in (
                ("power_truth", TRUTH_COLOR, "solid"),
                ("power_members", style.color, "solid"),
                ("power_mean", style.color, (0, (3, 1.5))),
            ):
                _spectrum(axes, data[part].sel(name=name, lead_time=lead_time), color, dashes)
        axes.grid(color=HAIRLINE)
        if index >= len(names) - columns:
            axes.set_xlabel("degree")
    meaning = [
        Line2D([], [], color=TRUTH_COLOR, label="truth"),
        Line2D([], [], color=MUTED, label="members"),
        Line2D([], [], color=MUTED, linestyle=(0, (3, 1.5)), label="ensemble mean"),
    ]
    _legend(figure, curves, styles, meaning)
    return figure


def _spectral_names(data: xr.Dataset, lead_time: np.timedelta64) -> list[str]:
    power = data["power_truth"].sel(lead_time=lead_time)
    held = power.notnull().any([dim for dim in power.dims if dim != "name"])
    return [str(name) for name in power["name"].to_numpy()[held.to_numpy()]]


def _spectrum(axes: Axes, power: xr.DataArray, color: str, dashes: object) -> None:
    """The mean of the map, degree 0, has no place on a logarithmic axis."""
    shown = power.where((power["degree"] > 0) & (power > 0), drop=True)
    axes.plot(shown["degree"], shown, color=color, linestyle=dashes, linewidth=1.4)


def _legend(
    figure: Figure, curves: Curves, styles: Mapping[str, LineStyle], meaning: tuple[Line2D, ...] | list[Line2D] = ()
) -> None:
    systems = [Line2D([], [], color=styles[system].color, label=system_label(system)) for system in curves]
    handles = [*systems, *meaning]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handlelength=2.0)
