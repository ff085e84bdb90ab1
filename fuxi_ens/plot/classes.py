"""Classes of percent: WeatherBench 2's bounds, blue where a forecast is better, gray for no difference."""

from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure

from fuxi_ens.plot.style import INK, MUTED, signed

BOUNDS: Final = (-50, -20, -10, -5, -2, -1, 1, 2, 5, 10, 20, 50)
"""Of the classes, percent; the middle one counts as no difference."""
_NO_DIFFERENCE: Final = "#dfe3e7"
_NOT_SCORED: Final = "#ffffff"


def class_colors() -> Colormap:
    """Matplotlib's RdBu_r by class, which color-blind readers can tell apart, with gray for no difference."""
    shades = colormaps["RdBu_r"](np.linspace(0.06, 0.94, len(BOUNDS) + 1))
    colors = [tuple(shade) for shade in shades]
    colors[len(BOUNDS) // 2] = mpl.colors.to_rgba(_NO_DIFFERENCE)
    return ListedColormap(colors, name="scorecard").with_extremes(bad=_NOT_SCORED)


def class_norm() -> BoundaryNorm:
    """Percent to class, open at both ends."""
    return BoundaryNorm(BOUNDS, len(BOUNDS) + 1, extend="both")


def text_color(percent: float) -> str:
    """Ink that can be read on the class of `percent`: the outermost three on either side are dark."""
    return "white" if abs(percent) >= BOUNDS[-3] else INK


def cell_text(value: float) -> str:
    """The percent as printed: a decimal below 10 %, where classes are narrow."""
    return signed(value, 0 if abs(value) >= 10.0 else 1)


def class_bar(figure: Figure, axes: list[Axes], label: str) -> Colorbar:
    """The classes below `axes`."""
    bar = figure.colorbar(
        ScalarMappable(class_norm(), class_colors()),
        ax=axes,
        orientation="horizontal",
        aspect=60,
        shrink=0.72,
        ticks=BOUNDS,
        spacing="uniform",
        extendfrac=0.05,
    )
    bar.ax.set_xticklabels([signed(bound) for bound in BOUNDS])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label(label, color=MUTED)
    return bar
