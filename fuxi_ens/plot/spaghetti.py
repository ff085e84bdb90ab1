"""Spaghetti: one or more contours of every member, the ensemble mean thick, the control member and truth dashed."""

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fuxi_ens.errors import UserError
from fuxi_ens.grid import Region
from fuxi_ens.plot.geography import contour, globe, page_of_one_map
from fuxi_ens.plot.snapshot import Snapshot
from fuxi_ens.plot.style import CONTROL_DASHES, INK, RC, TRUTH_COLOR, field_units

COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe-Ito, one color per contour value."""
_DASHES: Final = (0, (4, 2))


@mpl.rc_context(RC)
def spaghetti(shown: Snapshot, values: Sequence[float], region: Region) -> Figure:
    """Contours at `values`, in chart units. Raises UserError for a value that no member has in the region."""
    if len(values) > len(COLORS):
        raise UserError(f"{len(values)} contour values were asked for; more than {len(COLORS)} cannot be told apart")
    _require_crossed(shown, values, region)
    figure, axes = page_of_one_map(shown.title, region, 0.4)
    styles: list[tuple[xr.DataArray, dict[str, Any]]] = [
        (member, {"linewidths": 0.9 if len(shown.members) <= 20 else 0.6, "alpha": 0.55, "zorder": 3})
        for member in shown.members
    ]
    if shown.control is not None:
        styles.append((shown.control, {"linewidths": 1.9, "linestyles": [CONTROL_DASHES], "zorder": 4}))
    if shown.truth is not None:
        dashed = {"colors": TRUTH_COLOR, "linewidths": 1.5, "linestyles": [_DASHES], "zorder": 4}
        styles.append((shown.truth, dashed))
    styles.append((shown.members.mean("number"), {"linewidths": 2.8, "zorder": 5}))
    for field, style in styles:
        charted = shown.charted(field)
        for value, color in zip(values, COLORS, strict=False):
            contour(axes, charted, value, region, **{"colors": color, **style})
    _legend(figure, values, shown)
    return figure


def usual_contours(shown: Snapshot, region: Region) -> tuple[float, ...]:
    """Two or three round values well inside the range of the ensemble mean, in chart units."""
    field = globe(shown.charted(shown.members.mean("number")), region)[2]
    low, high = (float(value) for value in np.nanpercentile(field, [15.0, 85.0]))
    ticks = MaxNLocator(4, steps=[1, 2, 4, 5, 8, 10]).tick_values(low, high)
    inside = tuple(float(tick) for tick in ticks if low <= tick <= high)
    return inside[:3] or (0.5 * (low + high),)


def _require_crossed(shown: Snapshot, values: Sequence[float], region: Region) -> None:
    fields = (globe(shown.charted(member), region)[2] for member in shown.members)
    ranges = [(float(np.nanmin(field)), float(np.nanmax(field))) for field in fields]
    for value in values:
        if not any(low < value < high for low, high in ranges):
            units, low, high = field_units(shown.name), min(ranges)[0], max(high for _, high in ranges)
            raise UserError(
                f"no member has a contour at {value:g} {units}: {shown.name} goes from {low:.4g} to {high:.4g} {units} "
                "here"
            )


def _legend(figure: Figure, values: Sequence[float], shown: Snapshot) -> None:
    units = field_units(shown.name)
    handles = [
        Line2D([], [], color=color, linewidth=1.4, label=f"{value:g} {units}")
        for value, color in zip(values, COLORS, strict=False)
    ]
    handles.append(Line2D([], [], color=INK, linewidth=2.8, label="thick: ensemble mean"))
    if shown.control is not None:
        handles.append(Line2D([], [], color=INK, linewidth=1.9, linestyle=CONTROL_DASHES, label="dash-dot: control"))
    if shown.truth is not None:
        handles.append(Line2D([], [], color=TRUTH_COLOR, linewidth=1.5, linestyle=_DASHES, label="truth"))
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), handlelength=2.2)
