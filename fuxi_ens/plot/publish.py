"""Writes the outputs of a scorecard: the tables, the picture, the report."""

from pathlib import Path

import pandas as pd

from fuxi_ens.files import write_atomic
from fuxi_ens.plot.compose import Evidence, compose_report
from fuxi_ens.plot.figure import save_figure
from fuxi_ens.plot.report import write_report
from fuxi_ens.plot.scorecard import scorecard
from fuxi_ens.plot.summary import fine_print
from fuxi_ens.verify.scorecard import write_csv


def publish(evidence: Evidence, table: pd.DataFrame, out: Path) -> Path:
    """Write `scorecard.csv` (`table`), `counts.csv`, `scorecard.png` and `report.html` to `out`; returns the report."""
    scores = evidence.scores
    write_csv(table, out / "scorecard.csv")
    if evidence.counts is not None:
        write_atomic(out / "counts.csv", evidence.counts.to_csv(index=False).encode())
    if scores.references:
        save_figure(scorecard(scores, fine_print(scores, evidence.period)), out / "scorecard.png")
    return write_report(out / "report.html", compose_report(evidence))
