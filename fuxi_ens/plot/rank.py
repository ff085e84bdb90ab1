"""Rank histograms: where the truth falls among the sorted members; flat is reliable."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fuxi_ens.errors import UserError
from fuxi_ens.plot.style import INK, RC, ROLE_STYLES, WIDTH, lead_label, short_name

_DIMS = ("name", "lead_time", "rank")


@mpl.rc_context(RC)
def rank_histograms(counts: xr.DataArray, lead_times: Sequence[np.timedelta64]) -> Figure:
    """Draw lead times as rows and scored names as columns.

    `counts` is [name, lead_time, rank] with M + 1 ranks, or also has `init_time`, over which it is summed.
    Heights are multiples of the uniform frequency, so that ensembles of different size look alike.
    """
    if "init_time" in counts.dims:
        counts = counts.sum("init_time")
    if set(counts.dims) != set(_DIMS):
        raise UserError(f"rank counts have dimensions {counts.dims}; a histogram needs {_DIMS}")
    names = [str(name) for name in counts["name"].to_numpy()]
    figure = Figure(figsize=(WIDTH, 0.5 + 1.35 * len(lead_times)), layout="constrained")
    grid = figure.subplots(len(lead_times), len(names), sharex=True, sharey=True, squeeze=False)
    for row, lead_time in enumerate(lead_times):
        for column, name in enumerate(names):
            axes = grid[row, column]
            _histogram(axes, counts.sel(name=name, lead_time=lead_time).to_numpy())
            if row == 0:
                axes.set_title(short_name(name))
            if column == 0:
                axes.set_ylabel(lead_label(lead_time))
            if row == len(lead_times) - 1:
                axes.set_xlabel("rank of the truth")
    return figure


def relative_frequency(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    """Frequency of each rank over the frequency 1 / (M + 1) of a reliable ensemble, [rank]."""
    total = counts.sum()
    if not total > 0:
        raise UserError("rank counts are all zero; nothing was ranked")
    return np.asarray(counts / total * len(counts), dtype=np.float64)


def _histogram(axes: Axes, counts: NDArray[np.floating]) -> None:
    ranks = len(counts)
    edges = np.arange(ranks + 1) - 0.5
    axes.stairs(relative_frequency(counts), edges, fill=True, color=ROLE_STYLES["forecast"].color, alpha=0.85)
    axes.axhline(1.0, color=INK, linewidth=0.9)
    axes.set_xticks([0, ranks - 1])
    axes.grid(visible=False)
