"""`fuxi-ens scorecard`: from statistics to a table, a picture and an HTML report."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from fuxi_ens.config import SignificanceConfig, load_config
from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from pipelines.options import SetOption

log = logging.getLogger(__name__)


def scorecard(
    scores: Annotated[
        list[Path] | None, typer.Argument(help="Folders that `fuxi-ens verify` wrote; default: those of the config.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the outputs; default: the run's report folder, or ./report.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The run's YAML file: adds maps and a plume.")] = None,
    overrides: SetOption = None,
) -> None:
    """Make `scorecard.csv`, `counts.csv`, `scorecard.png` and `report.html` from the statistics of one run.

    Families of `verify.scores` with curves (reliability, ROC, value, spectra) add `curves_SYSTEM.nc`.

    Example: `fuxi-ens scorecard --config configs/era5_64x32.yaml`, or without the stores
    `fuxi-ens scorecard runs/era5_64x32/scores --out card`
    """
    from fuxi_ens.plot.evidence import collect_evidence, collect_scores_only
    from fuxi_ens.plot.publish import publish
    from fuxi_ens.verify.comparison import compare
    from fuxi_ens.verify.files import read_statistics
    from fuxi_ens.verify.scorecard import scorecard as score_table
    from fuxi_ens.verify.scorecard import write_curves

    if overrides and not config:
        raise typer.BadParameter("--set changes settings of a config; give --config too")
    settings = load_config(config, overrides or []) if config else None
    paths = RunPaths(settings.run.folder) if settings else None
    folders = scores or ([paths.scores] if paths else [])
    if not folders:
        raise UserError("no scores given; name the folders that `fuxi-ens verify` wrote, or the run with --config")
    statistics = read_statistics(folders)
    comparison = compare(statistics, settings.verify.significance if settings else SignificanceConfig())
    table = comparison.below(score_table(statistics))
    evidence = (
        collect_evidence(settings, table, comparison, statistics)
        if settings
        else collect_scores_only(table, comparison, statistics)
    )
    folder = out or (paths.report if paths else Path("report"))
    report = publish(evidence, table, folder)
    for path in write_curves(statistics, folder):
        log.info("curves: %s", path)
    for reference, won in evidence.scores.wins.items():
        log.info("CRPS against %s: %s", reference, won)
    log.info("report: %s", report)
