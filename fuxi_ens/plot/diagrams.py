"""Diagrams of scores with further dimensions: power by scale."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fuxi_ens.plot.style import (
    HAIRLINE,
    MUTED,
    RC,
    TRUTH_COLOR,
    WIDTH,
    LineStyle,
    long_name,
    system_label,
)

_COLUMNS = 3

Curves = Mapping[str, xr.Dataset]
"""By system, what `verify.scorecard.curves` gives."""


def has_spectra(curves: Curves, lead_time: np.timedelta64) -> bool:
    """Whether the first system has the spectrum of one name at least."""
    first = next(iter(curves.values()), xr.Dataset())
    return "power_truth" in first and bool(_spectral_names(first, lead_time))


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
    system_legend(figure, curves, styles, meaning)
    return figure


def _spectral_names(data: xr.Dataset, lead_time: np.timedelta64) -> list[str]:
    power = data["power_truth"].sel(lead_time=lead_time)
    held = power.notnull().any([dim for dim in power.dims if dim != "name"])
    return [str(name) for name in power["name"].to_numpy()[held.to_numpy()]]


def _spectrum(axes: Axes, power: xr.DataArray, color: str, dashes: object) -> None:
    """The mean of the map, degree 0, has no place on a logarithmic axis."""
    shown = power.where((power["degree"] > 0) & (power > 0), drop=True)
    axes.plot(shown["degree"], shown, color=color, linestyle=dashes, linewidth=1.4)


def system_legend(
    figure: Figure, curves: Curves, styles: Mapping[str, LineStyle], meaning: tuple[Line2D, ...] | list[Line2D] = ()
) -> None:
    """The systems, and after them what dashes mean, above all panels."""
    systems = [Line2D([], [], color=styles[system].color, label=system_label(system)) for system in curves]
    handles = [*systems, *meaning]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handlelength=2.0)
