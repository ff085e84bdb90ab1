"""Maps of one forecast: ensemble mean, spread, truth and error; stamps of the members."""

from typing import Any, Final

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fuxi_ens.channels import channel, components
from fuxi_ens.errors import UserError
from fuxi_ens.grid import Region, area_weights
from fuxi_ens.plot.fields import Case
from fuxi_ens.plot.geography import aspect, fill, map_axes
from fuxi_ens.plot.snapshot import Snapshot
from fuxi_ens.plot.style import MUTED, RC, WIDTH, chart_units, field_units

_FIELD_COLORS: Final = "viridis"
_RAIN_COLORS: Final = "YlGnBu"
_SPREAD_COLORS: Final = "YlOrBr"
_ERROR_COLORS: Final = "RdBu_r"
_CLASSES: Final = 14
_BAR: Final = 0.85
"""Share of a panel's width that its map has beside the color bar."""

_FLAT: Final = 0.3
_LABEL: Final = 0.16
"""Inches that the label of a color needs."""

Field = NDArray[np.floating]
Panel = tuple[xr.DataArray, str, str, Field, str]
"""Field in chart units, title, colors, levels, units."""


def forecast_maps(case: Case, lead_time: np.timedelta64) -> Figure:
    """Global maps of one lead time of a case, with its truth."""
    members, truth = case.at_lead(lead_time)
    return ensemble_maps(Snapshot(case.name, "", case.init_time, lead_time, members, truth))


@mpl.rc_context(RC)
def ensemble_maps(shown: Snapshot, region: Region = Region()) -> Figure:  # noqa: B008 - frozen
    """Ensemble mean and spread; with a truth also the truth, on the colors of the mean, and the error of the mean.

    Colors follow what lies inside the region, and so do the numbers in the titles. Raises UserError for one member.
    """
    if len(shown.members) < 2:
        raise UserError(f"{shown.system} has one member; a spread needs two or more")
    panels = _panels(shown, region)
    ratio = aspect(region)
    # Panels of a belt around the globe stand below each other.
    columns = 1 if ratio < _FLAT else 2
    rows = len(panels) // columns
    tall = WIDTH * _BAR * ratio / columns
    figure = Figure(figsize=(WIDTH, 0.6 + rows * (0.35 + tall)), layout="constrained")
    figure.suptitle(shown.title, x=0.01, ha="left", color=MUTED, fontsize=9)
    for index, panel in enumerate(panels):
        draw_panel(figure, (rows, columns, index + 1), panel, region)
    return figure


@mpl.rc_context(RC)
def stamps(shown: Snapshot, region: Region = Region()) -> Figure:  # noqa: B008 - frozen
    """A small map of the ensemble mean, the control member and every other one, all on one color scale."""
    fields = [("ensemble mean", shown.members.mean("number"))]
    fields += [("control", shown.control)] if shown.control is not None else []
    fields += [(f"member {number}", shown.members.sel(number=number)) for number in shown.members["number"].to_numpy()]
    columns = min(len(fields), 3 if len(fields) <= 6 else 4 if len(fields) <= 12 else 6)
    rows = -(-len(fields) // columns)
    levels = _levels(np.stack([_inside(shown.charted(field), region) for _, field in fields]))
    height = 1.1 + rows * (0.25 + 0.96 * WIDTH / columns * aspect(region))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(shown.title, x=0.01, ha="left", color=MUTED, fontsize=9)
    for index, (title, field) in enumerate(fields):
        axes = map_axes(figure, rows, columns, index + 1, region)
        filled = _fill(axes, shown.charted(field), _field_colors(shown.name), levels, region)
        axes.set_title(title, fontsize=8, fontweight="normal", pad=3)
    bar = figure.colorbar(filled, ax=figure.axes, orientation="horizontal", shrink=0.6, aspect=45, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label(field_units(shown.name), color=MUTED)
    return figure


def _panels(shown: Snapshot, region: Region) -> list[Panel]:
    units = chart_units(shown.name)
    mean = shown.members.mean("number")
    spread = shown.members.std("number", ddof=1) * units.factor
    fields = [shown.charted(field) for field in (mean, shown.truth) if field is not None]
    levels = _levels(np.stack([_inside(field, region) for field in fields]))
    as_field: tuple[str, Field, str] = (_field_colors(shown.name), levels, field_units(shown.name))
    most = np.asarray(MaxNLocator(_CLASSES).tick_values(0.0, usual_bound(spread, region)))
    spreads = (spread, _measured("Spread", spread, region, units.label), _SPREAD_COLORS, most, units.label)
    if shown.truth is None:
        return [(fields[0], "Ensemble mean", *as_field), spreads]
    error = (mean - shown.truth) * units.factor
    errors = (
        error,
        _measured("Mean minus truth, RMSE", error, region, units.label),
        _ERROR_COLORS,
        even_levels(usual_bound(error, region)),
        units.label,
    )
    return [(fields[0], "Ensemble mean", *as_field), (fields[1], "Truth", *as_field), spreads, errors]


def _inside(field: xr.DataArray, region: Region) -> Field:
    """Values in the region, [point]; a region narrower than the grid has those of the whole globe."""
    mask = region.mask(field["latitude"].to_numpy(), field["longitude"].to_numpy())
    return np.asarray(field.to_numpy()[mask] if mask.any() else field.to_numpy().ravel())


def _measured(title: str, field: xr.DataArray, region: Region, label: str) -> str:
    """Title with the area-weighted root mean square; for the spread that is the root of the mean variance."""
    latitude = field["latitude"].to_numpy()
    weights = area_weights(latitude)[:, None] * region.mask(latitude, field["longitude"].to_numpy())
    square = float(np.sqrt((field**2).weighted(xr.DataArray(weights, dims=("latitude", "longitude"))).mean()))
    return f"{title} {square:.3g} {label}"


def _field_colors(name: str) -> str:
    return _RAIN_COLORS if channel(components(name)[0]).variable.accumulated else _FIELD_COLORS


def _levels(values: Field) -> Field:
    low, high = np.nanpercentile(values, [0.5, 99.5])
    return np.asarray(MaxNLocator(_CLASSES).tick_values(low, high))


def usual_bound(field: xr.DataArray, region: Region) -> float:
    """What nearly all absolute values in the region stay below."""
    return float(np.nanpercentile(np.abs(_inside(field, region)), 99.5)) or 1.0


def even_levels(bound: float) -> Field:
    """Levels symmetric about zero, so that white means no error."""
    positive = np.asarray(MaxNLocator(_CLASSES // 2 - 2).tick_values(0.0, bound))[1:]
    return np.concatenate([-positive[::-1], positive])


def draw_panel(figure: Figure, position: tuple[int, int, int], panel: Panel, region: Region) -> Any:
    """A map with its title and a bar of its colors, at a place of a grid of panels; returns the axes."""
    field, title, colors, levels, label = panel
    axes = map_axes(figure, *position, region)
    filled = _fill(axes, field, colors, levels, region)
    axes.set_title(title)
    shrink = 0.9 if aspect(region) < _FLAT else 0.72
    bar = figure.colorbar(filled, ax=axes, orientation="vertical", shrink=shrink, aspect=22, pad=0.02)
    tall = shrink * WIDTH * _BAR * aspect(region) / position[1]
    bar.set_ticks(_labeled(levels, max(2, int(tall / _LABEL))))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.set_title(label, fontsize=8, fontweight="normal", color=MUTED, loc="left")
    return axes


def _labeled(levels: Field, most: int) -> list[float]:
    """At most about `most` of the levels; of those symmetric about zero both signs alike."""
    if levels[0] == -levels[-1]:
        positive = levels[len(levels) // 2 :]
        shown = positive[:: -(-2 * len(positive) // most)]
        return [*(-shown[::-1]), *shown]
    return list(levels[:: -(-len(levels) // most)])


def _fill(axes: Any, field: xr.DataArray, colors: str, levels: Field, region: Region) -> Any:
    """Filled contours; levels that start at zero get no color below them."""
    return fill(axes, field, region, levels=levels, cmap=colors, extend="max" if levels[0] == 0.0 else "both")
