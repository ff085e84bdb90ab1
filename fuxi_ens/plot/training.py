"""What a training looks like while it runs: one validation forecast on maps, and the curves of its record."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from fuxi_ens.files import write_atomic
from fuxi_ens.plot.fields import Case
from fuxi_ens.plot.maps import forecast_maps
from fuxi_ens.plot.style import INK, MUTED, RC, ROLE_STYLES, WIDTH

_DPI: Final = 80
"""Half that of a report: a run keeps the pictures of all its validations."""
_TRAIN: Final = ROLE_STYLES["forecast"]
_VALIDATION: Final = ROLE_STYLES["baseline"]
_LEADS: Final = ("#56B4E9", "#009E73", "#D55E00")
"""First, middle and last lead time."""

Record = dict[str, Any]
Point = tuple[int, float]


class Validated(Protocol):
    """A validation forecast of one scored name, file units."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def init_time(self) -> np.datetime64: ...  # noqa: D102
    @property
    def lead_time(self) -> np.timedelta64: ...  # noqa: D102
    @property
    def latitude(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def longitude(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def members_MHW(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def truth_HW(self) -> NDArray[np.float32]: ...  # noqa: D102


def draw_validation(shown: Validated, path: Path) -> None:
    """Maps of ensemble mean, truth, spread and error into a PNG file. Raises ValueError for members not finite."""
    if not np.isfinite(shown.members_MHW).all():
        raise ValueError(f"the members of {shown.name} are not finite: the forecast has diverged")
    place = {"latitude": shown.latitude, "longitude": shown.longitude}
    forecast = xr.DataArray(
        # In float32 the mean of equal members would differ from them.
        shown.members_MHW[:, None].astype(np.float64),
        {"number": np.arange(len(shown.members_MHW)), "lead_time": [shown.lead_time], **place},
        ("number", "lead_time", *place),
    )
    truth = xr.DataArray(
        shown.truth_HW[None], {"valid_time": [shown.init_time + shown.lead_time], **place}, ("valid_time", *place)
    )
    figure = forecast_maps(Case(shown.name, shown.init_time, forecast, truth), shown.lead_time)
    small = BytesIO()
    figure.savefig(small, format="png", dpi=_DPI, metadata={"Software": None})
    write_atomic(path, small.getvalue())


@mpl.rc_context(RC)
def training_curves(records: Sequence[Record]) -> Figure:
    """Error, KL, spread-skill ratio and learning rate against the iteration, from the record of a run."""
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    error, kl, ratio, rate = figure.subplots(2, 2, sharex=True).flat
    title = "Error, validation CRPS (standardized units)"
    _line(error, title, _points(train, "error"), _points(validation, "score"), log=True)
    error.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    error.yaxis.set_major_formatter("{x:g}")
    error.yaxis.set_minor_locator(NullLocator())
    _line(kl, "KL (nats per element)", _points(train, "kl"), _points(validation, "kl"))
    _ratios(ratio, validation)
    _line(rate, "Learning rate", _points(train, "lr"), log=True)
    for axes in (error, kl, ratio, rate):
        _stages(axes, train, named=axes in (error, kl))
    for axes in (ratio, rate):
        axes.set_xlabel("iteration")
        axes.set_xlim(0.0, 1.02 * records[-1]["iteration"])
    handles = error.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=2, handlelength=2.6)
    return figure


def _points(records: Iterable[Record], name: str) -> list[Point]:
    return [(record["iteration"], record[name]) for record in records if name in record]


def _line(axes: Axes, title: str, train: list[Point], validation: Sequence[Point] = (), *, log: bool = False) -> None:
    axes.set_title(title)
    axes.set_yscale("log" if log else "linear")
    for points, style, label in ((train, _TRAIN, "training"), (validation, _VALIDATION, "validation")):
        # What has no logarithm would bring a warning instead of a gap: a rate that ends at 0, an error not finite.
        drawn = [point for point in points if not log or point[1] > 0.0]
        if drawn:
            many = style is _VALIDATION or len(drawn) == 1
            axes.plot(*zip(*drawn, strict=True), color=style.color, linewidth=1.4, zorder=style.layer,
                      marker="o" if many else "", markersize=3.5, label=label)  # fmt: skip


def _ratios(axes: Axes, validation: Sequence[Record]) -> None:
    """Spread-skill ratio of the mean over channels at the first, the middle and the last lead time."""
    axes.set_title("Spread-skill ratio, validation")
    axes.axhline(1.0, color=INK, linewidth=0.8)
    by_lead: dict[str, list[Point]] = {}
    for record in validation:
        for lead, value in record["spread_skill_ratio"]["standardized"].items():
            by_lead.setdefault(lead, []).append((record["iteration"], value))
    leads = list(by_lead)
    chosen = dict.fromkeys([*leads[:1], *leads[len(leads) // 2 :][:1], *leads[-1:]])
    for lead, color in zip(chosen, _LEADS, strict=False):
        axes.plot(*zip(*by_lead[lead], strict=True), color=color, marker="o", markersize=3.5, label=lead)
    axes.set_ylim(0.0, max(axes.get_ylim()[1], 1.2))
    if leads:
        axes.legend(loc="lower right", ncols=3)


def _stages(axes: Axes, train: Sequence[Record], *, named: bool) -> None:
    """Dotted lines between stages, their names at the top."""
    last = {record["stage"]: record["iteration"] for record in train}
    for (begin, end), name in zip(pairwise([0, *last.values()]), last, strict=True):
        if begin:
            axes.axvline(begin, color=MUTED, linestyle=(0, (1, 2)), linewidth=0.9, zorder=1)
        if named:
            axes.annotate(
                name, (0.5 * (begin + end), 0.98), xycoords=("data", "axes fraction"), ha="center", va="top",
                color=MUTED, fontsize=7.5,
            )  # fmt: skip
