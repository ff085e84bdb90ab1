"""The report: one HTML file that holds everything, opens anywhere, loads nothing and prints well.

Its templates, style and script lie in `page/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from fuxi_ens.files import write_atomic
from fuxi_ens.plot.figure import Format, data_uri
from fuxi_ens.plot.summary import Card, NumberTable

_TEMPLATE = "report.html.j2"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with what a reader, seeing or not, needs to understand it."""

    figure: Figure
    alt: str
    caption: str = ""
    file_format: Format = "svg"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report with its own entry in the table of contents."""

    anchor: str
    title: str
    text: str
    pictures: Sequence[Picture] = ()
    numbers: NumberTable | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the page shows."""

    title: str
    lede: str
    """One or two sentences under the title."""
    cards: Sequence[Card]
    sections: Sequence[Section]
    headline: str = ""
    """The count of wins with its confidence, in one sentence."""
    numbers_json: str = ""
    """What `explorer.explorer_json` made; empty for a page without script."""
    diagrams_json: str = ""
    """What `diagram_data.diagram_json` made; shown beside `numbers_json` only."""
    caveats: Sequence[str] = ()
    """What a careful reader must know before quoting a number."""
    provenance: Mapping[str, str] = field(default_factory=dict)


def render_report(report: Report) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("fuxi_ens.plot", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment.get_template(_TEMPLATE).render(report=report)


def write_report(path: str | Path, report: Report) -> Path:
    """Render and write the page in one step; a half-written report is never seen."""
    target = Path(path)
    write_atomic(target, render_report(report).encode("utf-8"))
    return target
