"""Tracks of one cyclone: every member, their mean, what was observed, and the probability of a strike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cartopy.crs as ccrs
import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fuxi_ens.config import CycloneConfig
from fuxi_ens.errors import UserError
from fuxi_ens.plot.geography import DEGREES, coastlines
from fuxi_ens.plot.style import INK, MUTED, RC, ROLE_STYLES, TRUTH_COLOR, WIDTH, system_label
from fuxi_ens.times import Times, label
from fuxi_ens.verify.cyclones.sphere import mean_position
from fuxi_ens.verify.cyclones.strikes import StrikeMap, window
from fuxi_ens.verify.files import read_file, statistics_path

STEPS: Final = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Edges of the colors; below the first there is none."""
_MARGIN: Final = 4.0
"""Degrees around all tracks."""
_CELL: Final = 0.1
"""Degrees between places whose strike probability is drawn."""
_MEMBER: Final = "#5d6b79"


@dataclass(frozen=True)
class Storm:
    """Tracks of one storm in one forecast."""

    tracks: xr.Dataset
    at: int
    """Position among the storms of the file."""
    rules: CycloneConfig

    @property
    def init_time(self) -> np.datetime64:
        """When the forecast begins."""
        times: Times = np.atleast_1d(self.tracks["init_time"].to_numpy())
        first: np.datetime64 = times[0]
        return first

    @property
    def title(self) -> str:
        """What is shown, in two lines."""
        members = self.tracks.sizes["number"]
        name, number = (str(self.tracks[key].to_numpy()[self.at]) for key in ("name", "storm"))
        system = system_label(str(self.tracks.attrs["system"]))
        called = name if name == number else f"{name} ({number})"
        start = label(self.init_time).replace("T", " ")
        return f"{called}, {system}\nfrom {start} UTC   {members} members"


def open_storm(folder: Path, system: str, init_time: np.datetime64, storm: str, rules: CycloneConfig) -> Storm:
    """A storm, by name or identifier. Raises UserError for tracks or a storm that are not there."""
    path = statistics_path(folder / "tracks", system, init_time)
    if not path.exists():
        there = sorted(found.stem for found in path.parent.glob("*.nc"))
        raise UserError(
            f"no tracks of {system} from {label(init_time)}; there are "
            f"{', '.join(there) or 'none: run `fuxi-ens events cyclones` first'}"
        )
    tracks = read_file(path)
    names = [{str(tracks[key].to_numpy()[at]) for key in ("name", "storm")} for at in range(tracks.sizes["storm"])]
    if not any(storm in known for known in names):
        raise UserError(f"no storm {storm!r} in {path}; there are {', '.join(sorted(set().union(*names)))}")
    return Storm(tracks, next(at for at, known in enumerate(names) if storm in known), rules)


@mpl.rc_context(RC)
def draw_tracks(storm: Storm) -> Figure:
    """Map of the tracks over the strike probability; the mean has a mark every 24 h."""
    everything = storm.tracks["lead_time"].to_numpy()[-1] / np.timedelta64(1, "h")
    (latitude, longitude), observed = window(storm.tracks, storm.at, int(everything))
    middle, extent = _frame([latitude, observed[0]], [longitude, observed[1]])
    figure, axes = _map(storm.title, middle, extent)
    _strikes(figure, axes, storm, middle, extent)
    # Of few members that are left the mean jumps.
    enough = np.isfinite(latitude).mean(axis=0) >= storm.rules.min_share
    mean = tuple(np.where(enough, part, np.nan) for part in mean_position(latitude, longitude))
    for track in zip(latitude, longitude, strict=True):
        _line(axes, track, middle, color=_MEMBER, linewidth=0.6, alpha=0.6, zorder=3)
    style = ROLE_STYLES["forecast"]
    _line(axes, mean, middle, color=style.color, linewidth=2.4, zorder=5)
    _line(axes, mean, middle, every=4, color=style.color, marker="o", markersize=5, linestyle="", zorder=6)
    best = (observed[0][0], observed[1][0])
    _line(axes, best, middle, color=TRUTH_COLOR, linewidth=2.0, linestyle=(0, (3, 1.2)), zorder=7)
    _line(axes, best, middle, every=4, color=TRUTH_COLOR, marker="s", markersize=4, linestyle="", zorder=8)
    _legend(figure)
    return figure


def _frame(latitudes: list[Any], longitudes: list[Any]) -> tuple[float, tuple[float, float, float, float]]:
    """Longitude in the middle, and west, east (from there), south, north around all positions."""
    latitude = np.concatenate([np.ravel(part) for part in latitudes])
    longitude = np.concatenate([np.ravel(part) for part in longitudes])
    known = np.isfinite(latitude)
    middle = float(mean_position(latitude[known], longitude[known])[1])
    away = (longitude[known] - middle + 180.0) % 360.0 - 180.0
    south, north = float(latitude[known].min()) - _MARGIN, float(latitude[known].max()) + _MARGIN
    west, east = float(away.min()) - _MARGIN, float(away.max()) + _MARGIN
    return middle, (west, east, max(south, -89.0), min(north, 89.0))


def _map(title: str, middle: float, extent: tuple[float, float, float, float]) -> tuple[Figure, Any]:
    west, east, south, north = extent
    ratio = min(max((north - south) / (east - west), 0.35), 0.9)
    figure = Figure(figsize=(WIDTH, 1.6 + 0.95 * WIDTH * ratio), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=MUTED, fontsize=9)
    axes: Any = figure.add_subplot(projection=ccrs.PlateCarree(central_longitude=middle))
    axes.add_geometries([coastlines()], crs=DEGREES, facecolor="none", edgecolor=INK, linewidth=0.6, alpha=0.8)
    meridians = np.asarray(MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(west + middle, east + middle))
    meridians = (meridians + 180.0) % 360.0 - 180.0
    lines = axes.gridlines(draw_labels=["bottom", "left"], xlocs=meridians, linewidth=0.3, color=MUTED, alpha=0.35)
    lines.xlabel_style = lines.ylabel_style = {"color": MUTED, "size": 8}
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.spines["geo"].set_linewidth(0.5)
    return figure, axes


def _strikes(figure: Figure, axes: Any, storm: Storm, middle: float, extent: tuple[float, float, float, float]) -> None:
    west, east, south, north = extent
    latitude, away = np.arange(south, north, _CELL), np.arange(west, east, _CELL)
    places = StrikeMap(latitude, away + middle, storm.rules.strike_km)
    share = places.probability(*window(storm.tracks, storm.at, storm.rules.strike_hours)[0])
    colors = ListedColormap(colormaps["YlOrBr"](np.linspace(0.08, 0.8, len(STEPS) - 1)))
    norm = BoundaryNorm(STEPS, len(STEPS) - 1)
    filled = axes.contourf(away, latitude, share, levels=STEPS, cmap=colors, norm=norm, zorder=1)
    bar = figure.colorbar(filled, ax=axes, orientation="horizontal", shrink=0.6, aspect=40, pad=0.02, spacing="uniform")
    bar.set_ticks(list(STEPS), labels=[f"{100 * step:g} %" for step in STEPS])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    rules = storm.rules
    bar.set_label(f"share of members within {rules.strike_km:g} km in the first {rules.strike_hours} h", color=MUTED)


def _line(axes: Any, track: tuple[Any, ...], middle: float, every: int = 1, **look: Any) -> None:
    latitude: NDArray[np.float64] = track[0][::every]
    away = (track[1][::every] - middle + 180.0) % 360.0 - 180.0
    axes.plot(away, latitude, **look)


def _legend(figure: Figure) -> None:
    blue = ROLE_STYLES["forecast"].color
    handles = [
        Line2D([], [], color=_MEMBER, linewidth=0.8, label="members"),
        Line2D([], [], color=blue, linewidth=2.4, marker="o", markersize=5, label="mean, a mark every 24 h"),
        Line2D([], [], color=INK, linewidth=2.0, linestyle=(0, (3, 1.2)), marker="s", markersize=4, label="best track"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, handlelength=3.0)


def file_name(storm: Storm) -> str:
    """Name of the picture: tracks, system, storm, init time."""
    tracks = storm.tracks
    number = str(tracks["storm"].to_numpy()[storm.at])
    return f"tracks_{tracks.attrs['system']}_{number}_{pd.Timestamp(storm.init_time):%Y%m%d%H}.png"
