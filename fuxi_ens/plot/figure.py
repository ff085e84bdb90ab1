"""Figures to bytes and files."""

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal, get_args

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from fuxi_ens.errors import UserError
from fuxi_ens.files import write_atomic
from fuxi_ens.plot.style import RC

Format = Literal["svg", "png", "pdf"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
DPI: Final = 160
_PAGE_DPI: Final = 120
_DIGITS: Final = re.compile(rb"([1-9]\d*\.\d\d)\d+")
"""A hundredth of a point cannot be seen; numbers below 1 are scales and opacities."""
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
    """A figure as a `data:` address, so that a page needs no second file; smaller than the same figure as a file."""
    kind = "svg+xml" if file_format == "svg" else file_format
    content = figure_bytes(figure, file_format, _PAGE_DPI)
    if file_format == "svg":
        content = _DIGITS.sub(rb"\1", content)
    elif file_format == "png":
        content = _with_palette(content)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _with_palette(png: bytes) -> bytes:
    """The same picture with 256 colors, of which maps have few; a third of the size."""
    buffer = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path, dpi: int = DPI) -> Path:
    """Save a figure as .png, .svg or .pdf, by the suffix of `path`. Raises UserError for another suffix."""
    target = Path(path)
    file_format = next((known for known in FORMATS if target.suffix == f".{known}"), None)
    if file_format is None:
        suffixes = ", ".join(f".{known}" for known in FORMATS)
        raise UserError(f"cannot save a figure as {target.name!r}; use one of the suffixes {suffixes}")
    write_atomic(target, figure_bytes(figure, file_format, dpi))
    return target
