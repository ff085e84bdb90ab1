"""Writes the three outputs of a scorecard: the table, the picture, the report."""

from pathlib import Path

import pandas as pd

from fuxi_ens.plot.compose import Evidence, compose_report
from fuxi_ens.plot.figure import save_figure
from fuxi_ens.plot.report import write_report
from fuxi_ens.plot.scorecard import scorecard
from fuxi_ens.plot.summary import fine_print
from fuxi_ens.verify.scorecard import write_csv


def publish(evidence: Evidence, table: pd.DataFrame, out: Path) -> Path:
    """Write `scorecard.csv` (the whole table), `scorecard.png` and `report.html` to `out`; returns the report."""
    scores = evidence.scores
    write_csv(table, out / "scorecard.csv")
    if scores.references:
        save_figure(scorecard(scores, fine_print(scores, evidence.period)), out / "scorecard.png")
    return write_report(out / "report.html", compose_report(evidence))
