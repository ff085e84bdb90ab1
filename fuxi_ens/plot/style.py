"""How things look and what they are called: fonts, colors, display names and units, lead-time axes."""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from fuxi_ens.channels import ACCUMULATION_HOURS, SUMS_24H, channel, components, file_units
from fuxi_ens.stores.units import STANDARD_GRAVITY
from fuxi_ens.times import Leads

INK: Final = "#1b2733"
MUTED: Final = "#5d6b79"
HAIRLINE: Final = "#d9dfe5"
TRUTH_COLOR: Final = INK
CONTROL_COLOR: Final = "#CC79A7"
"""Where color is free for the control member; elsewhere its dashes tell."""
CONTROL_DASHES: Final = (0, (6, 1.5, 1, 1.5))
WIDTH: Final = 9.6
"""Width of every figure in inches."""

RC: Final[dict[Any, Any]] = {
    "font.family": ["sans-serif"],
    # Bundled with Matplotlib, so that a figure has the same layout on every machine.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "white",
    "figure.dpi": 100.0,
    "figure.constrained_layout.h_pad": 0.07,
    "figure.constrained_layout.w_pad": 0.07,
}
"""Matplotlib settings of every figure; used as `@mpl.rc_context(RC)` so that no global state changes."""


@dataclass(frozen=True, slots=True)
class LineStyle:
    """How the curve of a system is drawn."""

    color: str
    dashes: Any
    width: float
    layer: int
    """Drawing order; our forecast lies on top."""


ROLE_STYLES: Final = MappingProxyType(
    {
        "forecast": LineStyle("#0072B2", "solid", 2.3, 5),
        "baseline": LineStyle("#D55E00", "solid", 1.7, 4),
        "climatology": LineStyle("#6B7280", (0, (5, 2)), 1.5, 3),
        "persistence": LineStyle("#009E73", (0, (1, 1.5)), 1.7, 2),
        "other 1": LineStyle("#CC79A7", "solid", 1.7, 4),
        "other 2": LineStyle("#E69F00", "solid", 1.7, 4),
        "other 3": LineStyle("#56B4E9", "solid", 1.7, 4),
    }
)
"""Okabe-Ito colors by the role a system plays; dashes repeat the distinction for black-and-white print."""
_OTHER_DASHES: Final = ("solid", (0, (6, 1.5)), (0, (3, 1, 1, 1)))


def role_style(role: str) -> LineStyle:
    """How the system of a role is drawn; further systems (`other 4`) take the colors of the first three again."""
    if role in ROLE_STYLES or not role.startswith("other "):
        return ROLE_STYLES[role]
    turn, color = divmod(int(role.removeprefix("other ")) - 1, 3)
    return replace(ROLE_STYLES[f"other {color + 1}"], dashes=_OTHER_DASHES[turn % len(_OTHER_DASHES)])


def members_label(count: int, *, control: bool) -> str:
    """`50 members and control`."""
    return f"{count} members{' and control' if control else ''}"


@dataclass(frozen=True, slots=True)
class DisplayUnits:
    """Units people read. A difference or a score is `value * factor`; a field also gets `offset`."""

    label: str
    factor: float = 1.0
    field_label: str = ""
    offset: float = 0.0

    def field(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Values of a field, from file units."""
        return np.asarray(values * self.factor + self.offset)


_PER: Final = "\N{SUPERSCRIPT MINUS}"
_SQUARED: Final = "\N{SUPERSCRIPT TWO}"
DISPLAY_UNITS: Final = MappingProxyType(
    {
        "m**2 s**-2": DisplayUnits(f"m{_SQUARED} s{_PER}{_SQUARED}"),
        "K": DisplayUnits("K", 1.0, "\N{DEGREE SIGN}C", -273.15),
        "m s**-1": DisplayUnits(f"m s{_PER}\N{SUPERSCRIPT ONE}"),
        "kg kg**-1": DisplayUnits(f"g kg{_PER}\N{SUPERSCRIPT ONE}", 1e3),
        "Pa": DisplayUnits("hPa", 1e-2),
        "J m**-2": DisplayUnits(f"W h m{_PER}{_SQUARED}", 1.0 / 3600.0),
        "m": DisplayUnits("mm", 1e3),
    }
)
"""Display units by file units."""
_DECAMETERS: Final = DisplayUnits("dam", 1.0 / (10.0 * STANDARD_GRAVITY))


def display_units(name: str) -> DisplayUnits:
    """Display units of a scored name."""
    return DISPLAY_UNITS[file_units(name)]


def chart_units(name: str) -> DisplayUnits:
    """Units of weather charts: as for scores, but geopotential as height in geopotential decameters."""
    return _DECAMETERS if file_units(name) == "m**2 s**-2" else display_units(name)


def field_units(name: str) -> str:
    """Label of the units of a field, which for temperature and geopotential differ from those of its scores."""
    units = chart_units(name)
    return units.field_label or units.label


def short_name(name: str) -> str:
    """Scored name as it stands on an axis: `Z500`."""
    return name.upper()


def long_name(name: str) -> str:
    """Scored name in words: `Geopotential at 500 hPa`, `10 m wind speed`."""
    parts = components(name)
    first = channel(parts[0])
    words = first.variable.name
    if len(parts) > 1:
        words = words.replace("u_component_of_wind", "wind_speed")
    if words[0].isdigit():
        words = words.replace("m_", "\N{NO-BREAK SPACE}m ", 1)
    words = words.replace("_", " ")
    words = words[0].upper() + words[1:]
    if first.variable.accumulated:
        words += " in 24 h" if name in SUMS_24H else f" in {ACCUMULATION_HOURS} h"
    return f"{words} at {first.level} hPa" if first.level else words


def in_sentence(name: str) -> str:
    """Scored name in the middle of a sentence: `geopotential at 500 hPa`."""
    words = long_name(name)
    return words[0].lower() + words[1:]


def system_label(system: str) -> str:
    """Name of a system in a legend: `physics ensemble`; our own package keeps its underscore."""
    return system if system.startswith("fuxi") else system.replace("_", " ")


def in_days(lead_times: Leads) -> NDArray[np.float64]:
    """Lead times as days, for axes only."""
    return np.asarray(lead_times / np.timedelta64(1, "D"), dtype=np.float64)


def lead_label(lead_time: np.timedelta64) -> str:
    """A lead time in words: `day 5`, `day 2.5`."""
    return f"day {float(lead_time / np.timedelta64(1, 'D')):g}"


def lead_axis(axes: Axes, last: float, label: bool = True) -> None:
    """Format an x axis as lead time in days, from the analysis to `last`."""
    axes.set_xlim(0.0, last)
    step = next((step for step in (0.25, 0.5, 1.0, 2.0, 3.0, 5.0) if last / step <= 6), 10.0)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    if label:
        axes.set_xlabel("lead time (days)")


def signed(value: float, decimals: int = 0) -> str:
    """A number with its sign and a true minus; zero has none."""
    text = f"{value:+.{decimals}f}"
    if float(text) == 0.0:
        return text[1:]
    return text.replace("-", "\N{MINUS SIGN}")
