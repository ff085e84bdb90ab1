"""World maps of the difference between two systems' CRPS, dotted where it is significant."""

from typing import Any, Final

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fuxi_ens.grid import Region, area_weights
from fuxi_ens.plot.geography import DEGREES, aspect
from fuxi_ens.plot.maps import draw_panel, even_levels, usual_bound
from fuxi_ens.plot.style import INK, MUTED, RC, WIDTH, display_units, lead_label, long_name, signed, system_label

_COLORS: Final = "RdBu_r"
_DOTS_APART: Final = 5.0
"""Degrees of a great circle; closer ones would hide the colors."""


@mpl.rc_context(RC)
def difference_maps(maps: xr.Dataset, name: str) -> Figure:
    """One panel per lead time of a scored name; `maps` are those of `verify.difference_maps`, blue is better.

    Titles give the global mean, and the shares of the area that are significantly better and worse.
    """
    shown = maps.sel(name=name)
    units = display_units(name)
    columns = 2 if shown.sizes["lead_time"] > 1 else 1
    rows = -(-shown.sizes["lead_time"] // columns)
    height = 0.7 + rows * (0.45 + 0.85 * WIDTH * aspect(Region()) / columns)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    ours, theirs = (system_label(str(maps.attrs[key])) for key in ("system", "reference"))
    title = f"{long_name(name)}: CRPS of {ours} minus {theirs}; blue is better, dots are significant"
    figure.suptitle(title, x=0.01, ha="left", color=MUTED, fontsize=9)
    for index, lead_time in enumerate(shown["lead_time"].to_numpy()):
        one = shown.sel(lead_time=lead_time)
        field = one["difference"] * units.factor
        levels = even_levels(usual_bound(field, Region()))
        heading = f"{lead_label(lead_time).capitalize()}: {_said(one, field)} {units.label}\n{_shares(one)}"
        axes = draw_panel(figure, (rows, columns, index + 1), (field, heading, _COLORS, levels, units.label), Region())
        axes.set_title(axes.get_title(loc="left"), fontsize=8.5, linespacing=1.35)
        _dots(axes, one["significant"].astype(bool))
    return figure


def _said(one: xr.Dataset, field: xr.DataArray) -> str:
    mean = float(field.weighted(_area(one)).mean())
    digits = max(0, 1 - int(np.floor(np.log10(abs(mean))))) if mean else 0
    return f"mean {signed(mean, digits)}"


def _shares(one: xr.Dataset) -> str:
    if not one["tested"]:
        return "significance could not be tested"
    better, worse = significant_shares(one)
    return f"significantly better on {better:.0f} % of the area, worse on {worse:.0f} %"


def significant_shares(one: xr.Dataset) -> tuple[float, float]:
    """Percent of the area with a truth where one map is significantly better, and worse."""
    area = _area(one) * one["difference"].notnull()
    significant = one["significant"].astype(bool)
    better, worse = (
        float((area * (significant & sign)).sum() / area.sum())
        for sign in (one["difference"] < 0, one["difference"] > 0)
    )
    return 100 * better, 100 * worse


def _area(one: xr.Dataset) -> xr.DataArray:
    weights = xr.DataArray(area_weights(one["latitude"].to_numpy()), {"latitude": one["latitude"]}, "latitude")
    return weights * xr.ones_like(one["longitude"])


def _dots(axes: Any, significant: xr.DataArray) -> None:
    """Dots about equally dense on the globe, at significant points of the grid."""
    latitude, longitude = significant["latitude"].to_numpy(), significant["longitude"].to_numpy()
    spacing = 360.0 / len(longitude)
    every_row = max(1, round(_DOTS_APART / spacing))
    for number, row in enumerate(range(every_row // 2, len(latitude), every_row)):
        narrow = max(0.1, float(np.cos(np.deg2rad(latitude[row]))))
        every = max(1, round(_DOTS_APART / spacing / narrow))
        columns = np.arange((number % 2) * (every // 2), len(longitude), every)
        columns = columns[significant.isel(latitude=row).to_numpy()[columns]]
        here = np.full(len(columns), latitude[row])
        axes.scatter(longitude[columns], here, s=1.6, color=INK, linewidths=0, transform=DEGREES)
