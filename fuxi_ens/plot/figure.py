"""Figures to bytes and files."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from fuxi_ens.files import write_atomic
from fuxi_ens.plot.style import RC

Format = Literal["svg", "png"]

_DPI: Final = 160
# Fixed identifiers and no date: the same figure gives the same bytes.
_REPRODUCIBLE: Final[dict[Any, Any]] = {"svg.hashsalt": "fuxi_ens", "svg.fonttype": "path"}


def figure_bytes(figure: Figure, file_format: Format = "png") -> bytes:
    """Render a figure; the same figure gives the same bytes."""
    buffer = BytesIO()
    metadata = {"Date": None} if file_format == "svg" else {"Software": None}
    with mpl.rc_context({**RC, **_REPRODUCIBLE}):
        figure.savefig(buffer, format=file_format, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()


def data_uri(figure: Figure, file_format: Format = "png") -> str:
    """A figure as a `data:` address, so that a page needs no second file."""
    kind = "svg+xml" if file_format == "svg" else file_format
    return f"data:image/{kind};base64,{base64.b64encode(figure_bytes(figure, file_format)).decode('ascii')}"


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Save a figure as .png or .svg, by the suffix of `path`."""
    target = Path(path)
    if target.suffix not in {".png", ".svg"}:
        raise ValueError(f"cannot save a figure as {target.name!r}; use the suffix .png or .svg")
    write_atomic(target, figure_bytes(figure, "svg" if target.suffix == ".svg" else "png"))
    return target
