"""`fuxi-ens progress`: how a training stands, from the files it writes."""

import logging
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fuxi_ens.config import load_config
from fuxi_ens.paths import RunPaths
from pipelines.options import ConfigArgument, SetOption

log = logging.getLogger(__name__)


def progress(
    config: ConfigArgument,
    overrides: SetOption = None,
    plot: Annotated[bool, typer.Option(help="Also draw the curves into training/losses.png.")] = False,
) -> None:
    """Show stage, loss, pace, time left, saved states and the last validation of a training.

    It reads the run folder only, so it works on a login node while the job runs elsewhere.

    Example: `fuxi-ens progress configs/era5_64x32.yaml --plot`
    """
    from fuxi_ens.train.standing import last_validation, run_records, standing

    settings = load_config(config, overrides or [])
    paths = RunPaths(settings.run.folder)
    records = run_records(paths)
    console = Console()
    table = Table(show_header=False, title=settings.run.name)
    for heading, words in standing(settings, records).items():
        table.add_row(heading, words)
    console.print(table)
    heads, rows = last_validation(records)
    if rows:
        scores = Table(*heads)
        for row in rows:
            scores.add_row(*row)
        console.print(scores)
    if plot:
        from fuxi_ens.plot.figure import save_figure
        from fuxi_ens.plot.training import training_curves

        log.info("curves: %s", save_figure(training_curves(records), paths.training / "losses.png"))
