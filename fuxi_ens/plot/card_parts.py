"""What the styles of scorecards share: the footer, the counts in words, the frame of a heat map."""

import textwrap
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fuxi_ens.plot.style import MUTED
from fuxi_ens.verify.wins import Wins

_FOOTER_COLUMNS: Final = 160
"""Characters of the footer's small print that surely fit the width of the figure."""


def footer_lines(footer: str) -> list[str]:
    """The footer, wrapped to the width of a figure."""
    return textwrap.wrap(footer, _FOOTER_COLUMNS)


def print_footer(figure: Figure, lines: list[str]) -> None:
    """What the numbers rest on, below everything."""
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color=MUTED)


def bare(axes: Axes) -> None:
    """A panel of cells has no frame, grid or ticks, and its first row on top."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


def wins_label(won: Wins) -> str:
    """Counts over all counted cells (variable x lead time), shown or not, with the significant ones in parentheses."""
    if not won.tested:
        return f"better in {won.better} of {won.total}, worse in {won.worse}; significance could not be tested"
    return (
        f"better in {won.better} of {won.total} ({won.significantly_better} significantly), "
        f"worse in {won.worse} ({won.significantly_worse} significantly)"
    )
