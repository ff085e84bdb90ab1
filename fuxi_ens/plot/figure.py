"""Figures to bytes and files."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal, get_args

import matplotlib as mpl
from matplotlib.figure import Figure

from fuxi_ens.errors import UserError
from fuxi_ens.files import write_atomic
from fuxi_ens.plot.style import RC

Format = Literal["svg", "png", "pdf"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
DPI: Final = 160
# Fixed identifiers and no date: the same figure gives the same bytes.
_REPRODUCIBLE: Final[dict[Any, Any]] = {"svg.hashsalt": "fuxi_ens", "svg.fonttype": "path"}


_NO_DATE: Final[dict[Format, dict[str, None]]] = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}


def figure_bytes(figure: Figure, file_format: Format = "png", dpi: int = DPI) -> bytes:
    """Render a figure; the same figure gives the same bytes."""
    buffer = BytesIO()
    with mpl.rc_context({**RC, **_REPRODUCIBLE}):
        figure.savefig(buffer, format=file_format, dpi=dpi, metadata=_NO_DATE[file_format])
    return buffer.getvalue()


def data_uri(figure: Figure, file_format: Format = "png") -> str:
    """A figure as a `data:` address, so that a page needs no second file."""
    kind = "svg+xml" if file_format == "svg" else file_format
    return f"data:image/{kind};base64,{base64.b64encode(figure_bytes(figure, file_format)).decode('ascii')}"


def save_figure(figure: Figure, path: str | Path, dpi: int = DPI) -> Path:
    """Save a figure as .png, .svg or .pdf, by the suffix of `path`. Raises UserError for another suffix."""
    target = Path(path)
    file_format = next((known for known in FORMATS if target.suffix == f".{known}"), None)
    if file_format is None:
        suffixes = ", ".join(f".{known}" for known in FORMATS)
        raise UserError(f"cannot save a figure as {target.name!r}; use one of the suffixes {suffixes}")
    write_atomic(target, figure_bytes(figure, file_format, dpi))
    return target
