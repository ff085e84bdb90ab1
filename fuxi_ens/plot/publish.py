"""Writes the outputs of a scorecard: the tables, the pictures, the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import xarray as xr

from fuxi_ens.files import write_atomic
from fuxi_ens.plot.card_style import CardStyle
from fuxi_ens.plot.compose import Evidence, compose_report
from fuxi_ens.plot.difference_maps import difference_maps
from fuxi_ens.plot.figure import save_figure
from fuxi_ens.plot.report import write_report
from fuxi_ens.plot.scorecard import scorecard
from fuxi_ens.plot.summary import fine_print
from fuxi_ens.verify.files import write_statistics
from fuxi_ens.verify.scorecard import write_csv

PICTURE_SUFFIXES: Final = (".png", ".pdf")


def publish(
    evidence: Evidence,
    table: pd.DataFrame,
    out: Path,
    styles: Sequence[CardStyle] = (CardStyle.WEATHERBENCH,),
    reference: str = "",
) -> Path:
    """Write `scorecard.csv` (`table`), `counts.csv`, pictures, maps and `report.html` to `out`; returns the report.

    Pictures are named after their style, except for `scorecard.png` and `.pdf` in WeatherBench's. Raises UserError
    for a `reference` that is none.
    """
    scores = evidence.scores
    write_csv(table, out / "scorecard.csv")
    if evidence.counts is not None:
        write_atomic(out / "counts.csv", evidence.counts.to_csv(index=False).encode())
    if scores.references:
        for style in styles:
            footer = fine_print(scores, evidence.period, one_region=style is not CardStyle.ECMWF, notes=evidence.notes)
            figure = scorecard(scores, footer, style, reference)
            for suffix in PICTURE_SUFFIXES:
                save_figure(figure, out / f"{card_name(style)}{suffix}")
    for pair, maps in evidence.difference_maps.items():
        _write_maps(pair, maps, out)
    return write_report(out / "report.html", compose_report(evidence))


def _write_maps(pair: tuple[str, str], maps: xr.Dataset, out: Path) -> None:
    """The numbers as NetCDF, a picture per scored name."""
    tail = "_".join(pair)
    write_statistics(out / f"maps_{tail}.nc", maps)
    for name in map(str, maps["name"].to_numpy()):
        save_figure(difference_maps(maps, name), out / f"difference_{name}_{tail}.png")


def card_name(style: CardStyle) -> str:
    """Name of a scorecard's files without suffix."""
    return "scorecard" if style is CardStyle.WEATHERBENCH else f"scorecard_{style}"
