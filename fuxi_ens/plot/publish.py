"""Writes the outputs of a scorecard: the tables, the pictures, the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from fuxi_ens.files import write_atomic
from fuxi_ens.plot.card_style import CardStyle
from fuxi_ens.plot.compose import Evidence, compose_report
from fuxi_ens.plot.figure import save_figure
from fuxi_ens.plot.report import write_report
from fuxi_ens.plot.scorecard import scorecard
from fuxi_ens.plot.summary import fine_print
from fuxi_ens.verify.scorecard import write_csv

PICTURE_SUFFIXES: Final = (".png", ".pdf")


def publish(
    evidence: Evidence,
    table: pd.DataFrame,
    out: Path,
    styles: Sequence[CardStyle] = (CardStyle.WEATHERBENCH,),
    reference: str = "",
) -> Path:
    """Write `scorecard.csv` (`table`), `counts.csv`, pictures and `report.html` to `out`; returns the report.

    Pictures are named after their style, except for `scorecard.png` and `.pdf` in WeatherBench's. Raises UserError
    for a `reference` that is none.
    """
    scores = evidence.scores
    write_csv(table, out / "scorecard.csv")
    if evidence.counts is not None:
        write_atomic(out / "counts.csv", evidence.counts.to_csv(index=False).encode())
    if scores.references:
        for style in styles:
            footer = fine_print(scores, evidence.period, one_region=style is not CardStyle.ECMWF)
            figure = scorecard(scores, footer, style, reference)
            for suffix in PICTURE_SUFFIXES:
                save_figure(figure, out / f"{card_name(style)}{suffix}")
    return write_report(out / "report.html", compose_report(evidence))


def card_name(style: CardStyle) -> str:
    """Name of a scorecard's files without suffix."""
    return "scorecard" if style is CardStyle.WEATHERBENCH else f"scorecard_{style}"
