"""Maps of one forecast: ensemble mean, truth, spread and error, with the packaged coastlines."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import cartopy.crs as ccrs
import matplotlib as mpl
import numpy as np
import pandas as pd
import shapely
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fuxi_ens.assets import resolve
from fuxi_ens.channels import channel, components
from fuxi_ens.grid import area_weights
from fuxi_ens.plot.fields import Case
from fuxi_ens.plot.style import INK, MUTED, RC, WIDTH, display_units, field_units, lead_label, long_name

COASTLINES: Final = "asset:coastline_110m.geojson"

_FIELD_COLORS: Final = "viridis"
_RAIN_COLORS: Final = "YlGnBu"
_SPREAD_COLORS: Final = "YlOrBr"
_ERROR_COLORS: Final = "RdBu_r"
_CLASSES: Final = 14
_MOST_COLUMNS: Final = 360
"""A panel is about 800 pixels wide; a denser grid costs time and shows nothing."""

Field = NDArray[np.floating]


@cache
def coastlines() -> Any:
    """The packaged 110 m coastline as one shapely geometry; cartopy's own would be downloaded."""
    return shapely.from_geojson(Path(resolve(COASTLINES)).read_text(encoding="utf-8"))


@mpl.rc_context(RC)
def forecast_maps(case: Case, lead_time: np.timedelta64) -> Figure:
    """Ensemble mean and truth on one color scale, spread and error of the mean below."""
    members, truth = case.at_lead(lead_time)
    units = display_units(case.name)
    mean = members.mean("number")
    error = (mean - truth) * units.factor
    spread = members.std("number", ddof=1) * units.factor
    shown = [field.copy(data=units.field(field.to_numpy())) for field in (mean, truth)]
    levels, label = _levels(np.stack(shown)), units.label
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    figure.suptitle(map_title(case, lead_time), x=0.01, ha="left", color=MUTED, fontsize=9)
    panels = (
        (shown[0], "Ensemble mean", _field_colors(case.name), levels, field_units(case.name)),
        (shown[1], "Truth", _field_colors(case.name), levels, field_units(case.name)),
        (spread, _measured("Spread", spread, label), _SPREAD_COLORS, _spread_levels(spread), label),
        (error, _measured("Mean minus truth, RMSE", error, label), _ERROR_COLORS, _even(error), label),
    )
    for index, panel in enumerate(panels):
        _map(figure, index + 1, *panel)
    return figure


def map_title(case: Case, lead_time: np.timedelta64) -> str:
    """Name, lead time, init time and valid time in one line."""
    init_time, valid_time = pd.Timestamp(case.init_time), pd.Timestamp(case.init_time + lead_time)
    return (
        f"{long_name(case.name)}   {lead_label(lead_time)}   init {init_time:%Y-%m-%d %H} UTC   "
        f"valid {valid_time:%Y-%m-%d %H} UTC"
    )


def _measured(title: str, field: xr.DataArray, label: str) -> str:
    """Title with the area-weighted root mean square; for the spread that is the root of the mean variance."""
    weights = xr.DataArray(area_weights(field["latitude"].to_numpy()), dims="latitude")
    square = float(np.sqrt((field**2).weighted(weights).mean()))
    return f"{title} {square:.3g} {label}"


def _field_colors(name: str) -> str:
    return _RAIN_COLORS if channel(components(name)[0]).variable.accumulated else _FIELD_COLORS


def _levels(values: Field) -> Field:
    low, high = np.nanpercentile(values, [0.5, 99.5])
    return np.asarray(MaxNLocator(_CLASSES).tick_values(low, high))


def _spread_levels(spread: xr.DataArray) -> Field:
    return np.asarray(MaxNLocator(_CLASSES).tick_values(0.0, float(np.nanpercentile(spread, 99.5))))


def _even(error: xr.DataArray) -> Field:
    """Levels symmetric about zero, so that white means no error."""
    bound = float(np.nanpercentile(np.abs(error), 99.5)) or 1.0
    positive = np.asarray(MaxNLocator(_CLASSES // 2 - 2).tick_values(0.0, bound))[1:]
    return np.concatenate([-positive[::-1], positive])


def globe_axes(figure: Figure, rows: int, columns: int, index: int) -> Any:
    """World map axes with coastlines, at a position of a grid of panels."""
    axes: Any = figure.add_subplot(rows, columns, index, projection=ccrs.Robinson())
    axes.add_geometries(
        [coastlines()], crs=ccrs.PlateCarree(), facecolor="none", edgecolor=INK, linewidth=0.5, alpha=0.8
    )
    axes.set_global()
    axes.spines["geo"].set_linewidth(0.5)
    return axes


def _map(figure: Figure, index: int, field: xr.DataArray, title: str, colors: str, levels: Field, label: str) -> None:
    """Draw one panel; levels that start at zero get no color below them."""
    axes = globe_axes(figure, 2, 2, index)
    longitude, latitude, values = globe(field)
    filled = axes.contourf(
        longitude,
        latitude,
        values,
        levels=levels,
        cmap=colors,
        extend="max" if levels[0] == 0.0 else "both",
        transform=ccrs.PlateCarree(),
        transform_first=True,
    )
    axes.set_title(title)
    bar = figure.colorbar(filled, ax=axes, orientation="vertical", shrink=0.72, aspect=22, pad=0.02)
    if levels[0] == -levels[-1]:
        # Matplotlib would label every other level, and so not both signs alike.
        bar.set_ticks(list(levels))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.set_title(label, fontsize=8, fontweight="normal", color=MUTED, loc="left")


def globe(field: xr.DataArray) -> tuple[Field, Field, Field]:
    """Meshes of longitude, latitude and values from -180 to 180 and from pole to pole.

    Contours join grid points, so a globe of cell centers would show a gap at the date line and at the poles.
    """
    stride = max(1, -(-field.sizes["longitude"] // _MOST_COLUMNS))
    thin = field.isel(latitude=slice(None, None, stride), longitude=slice(None, None, stride))
    thin = thin.assign_coords(longitude=(thin["longitude"] + 180.0) % 360.0 - 180.0).sortby(["latitude", "longitude"])
    latitude, longitude = thin["latitude"].to_numpy(), thin["longitude"].to_numpy()
    values = thin.to_numpy()
    share = (180.0 - longitude[-1]) / (longitude[0] + 360.0 - longitude[-1])
    seam = ((1.0 - share) * values[:, -1] + share * values[:, 0])[:, None]
    values = np.concatenate([seam, values, seam], axis=1)
    poles = [np.full((1, values.shape[1]), values[row].mean()) for row in (0, -1)]
    values = np.concatenate([poles[0], values, poles[1]])
    # A grid that has the seam or the poles itself gets zero-width cells there, which draw nothing.
    mesh = np.meshgrid(np.array([-180.0, *longitude, 180.0]), np.array([-90.0, *latitude, 90.0]))
    return mesh[0], mesh[1], values
