"""`fuxi-ens scorecard`: from statistics to tables, pictures and an HTML report."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from fuxi_ens.config import SignificanceConfig
from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.plot.card_style import CardStyle
from pipelines.options import SetOption, load_dated

log = logging.getLogger(__name__)


def scorecard(
    scores: Annotated[
        list[Path] | None, typer.Argument(help="Folders that `fuxi-ens verify` wrote; default: those of the config.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the outputs; default: the run's report folder, or ./report.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The run's YAML file: adds maps and a plume.")] = None,
    style: Annotated[
        list[CardStyle] | None,
        typer.Option(
            help="Look of the picture, may be repeated. weatherbench: scores of all systems at days 1 to 15, color by "
            "percent; gencast: levels by lead times, hatched where not significant; ecmwf: triangles for all regions "
            "and scores. Default: weatherbench."
        ),
    ] = None,
    reference: Annotated[
        str, typer.Option(help="System the pictures compare with; default: the baseline.", show_default=False)
    ] = "",
    overrides: SetOption = None,
) -> None:
    """Make `scorecard.csv`, `counts.csv`, pictures and `report.html` from the statistics of one run.

    Families of `verify.scores` with curves (reliability, ROC, value, spectra) add `curves_SYSTEM.nc`, the family `maps`
    world maps of score differences, `difference_NAME_SYSTEM_REFERENCE.png` and `maps_SYSTEM_REFERENCE.nc`.
    The report is one file that works without network: choose region, score, system and reference in it.

    Example: `fuxi-ens scorecard --config configs/era5_64x32.yaml --style ecmwf`, or without the stores
    `fuxi-ens scorecard runs/era5_64x32/scores --out card`
    """
    from fuxi_ens.plot.evidence import collect
    from fuxi_ens.plot.publish import publish
    from fuxi_ens.verify.results import read_results
    from fuxi_ens.verify.scorecard import write_curves

    if overrides and not config:
        raise typer.BadParameter("--set changes settings of a config; give --config too")
    settings = load_dated(config, overrides) if config else None
    paths = RunPaths(settings.run.folder) if settings else None
    folders = scores or ([paths.scores] if paths else [])
    if not folders:
        raise UserError("no scores given; name the folders that `fuxi-ens verify` wrote, or the run with --config")
    results = read_results(folders, settings.verify.significance if settings else SignificanceConfig())
    evidence = collect(results, settings)
    folder = out or (paths.report if paths else Path("report"))
    report = publish(evidence, results.table, folder, style or [CardStyle.WEATHERBENCH], reference)
    for path in write_curves(results.statistics, folder):
        log.info("curves: %s", path)
    for system, won in evidence.scores.wins.items():
        log.info("CRPS against %s: %s", system, won)
    log.info("report: %s", report)
