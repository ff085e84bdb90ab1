"""Probability of a threshold: the share of members above or below it, with the place where the truth crossed it."""

from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fuxi_ens.grid import Region
from fuxi_ens.plot.geography import contour, fill, page_of_one_map
from fuxi_ens.plot.snapshot import Snapshot
from fuxi_ens.plot.style import MUTED, RC, TRUTH_COLOR, field_units, in_sentence, system_label

STEPS: Final = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
"""Edges of the colors; below the first there is none."""


@dataclass(frozen=True, slots=True)
class Event:
    """A field above a threshold, or below it, in chart units; equal to it is neither."""

    threshold: float
    below: bool = False

    def share(self, shown: Snapshot) -> xr.DataArray:
        """Share of members in which the event happens, 0 to 1, [latitude, longitude]; NaN where there are no values."""
        share = xr.zeros_like(shown.members[0], dtype=np.float64).reset_coords(drop=True)
        # One member at a time: the double precision of all would be the largest thing in memory.
        for member in shown.members:
            values = shown.charted(member).reset_coords(drop=True)
            happens = values < self.threshold if self.below else values > self.threshold
            share += happens.where(values.notnull()) / len(shown.members)
        return share

    def words(self, name: str) -> str:
        """The event as part of a sentence: `2 m temperature below 0 C`."""
        return f"{in_sentence(name)} {'below' if self.below else 'above'} {self.threshold:g} {field_units(name)}"


def step_colors() -> Colormap:
    """Light to dark on the part of Matplotlib's viridis that is seen alike by all; lightness alone tells the order."""
    return ListedColormap(colormaps["viridis_r"](np.linspace(0.02, 0.95, len(STEPS) - 1)), name="probability")


@mpl.rc_context(RC)
def probability_map(shown: Snapshot, event: Event, region: Region) -> Figure:
    """Map of the share of members in which `event` happens."""
    figure, axes = page_of_one_map(_title(shown, event), region, 0.9)
    norm = BoundaryNorm(STEPS, len(STEPS) - 1)
    filled = fill(axes, event.share(shown), region, levels=STEPS, cmap=step_colors(), norm=norm)
    bar = figure.colorbar(filled, ax=axes, orientation="horizontal", shrink=0.7, aspect=40, pad=0.03, spacing="uniform")
    bar.set_ticks(list(STEPS), labels=[f"{100 * step:g} %" for step in STEPS])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label(f"share of {len(shown.members)} members; no color below {100 * STEPS[0]:g} %", color=MUTED)
    if shown.truth is not None:
        _draw_truth(figure, shown, event, region)
    return figure


def _title(shown: Snapshot, event: Event) -> str:
    return (
        f"Probability of {event.words(shown.name)}, {system_label(shown.system)}\n"
        f"{shown.times}   {len(shown.members)} members"
    )


def _draw_truth(figure: Figure, shown: Snapshot, event: Event, region: Region) -> None:
    assert shown.truth is not None, "asked for only with a truth"
    line = {"colors": TRUTH_COLOR, "linewidths": 1.2}
    contour(figure.axes[0], shown.charted(shown.truth), event.threshold, region, **line)
    name = f"truth at {event.threshold:g} {field_units(shown.name)}"
    figure.legend(handles=[Line2D([], [], color=TRUTH_COLOR, linewidth=1.2, label=name)], loc="outside lower left")
