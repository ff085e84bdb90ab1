"""`fuxi-ens scorecard`: from statistics to a table, a picture and an HTML report."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from fuxi_ens.config import load_config
from fuxi_ens.plot.evidence import collect_evidence, collect_scores_only
from fuxi_ens.plot.publish import publish
from fuxi_ens.verify.files import read_statistics
from fuxi_ens.verify.scorecard import scorecard as score_table
from pipelines.options import SetOption

log = logging.getLogger(__name__)


def scorecard(
    scores: Annotated[list[Path], typer.Argument(help="Folders that `fuxi-ens verify` wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for scorecard.csv, scorecard.png and report.html.")] = Path(
        "report"
    ),
    config: Annotated[Path | None, typer.Option(help="The run's YAML file: adds maps and a plume.")] = None,
    overrides: SetOption = None,
) -> None:
    """Make `scorecard.csv`, `scorecard.png` and `report.html` from the statistics of one run.

    Example: `fuxi-ens scorecard runs/demo/scores --config configs/demo.yaml --out runs/demo/report`
    """
    statistics = read_statistics(scores)
    table = score_table(statistics)
    if config is None:
        evidence = collect_scores_only(table, statistics)
    else:
        evidence = collect_evidence(load_config(config, overrides or []), table, statistics)
    report = publish(evidence, table, out)
    log.info("report: %s", report)
