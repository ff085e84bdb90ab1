"""`fuxi-ens demo`: the whole chain on the sample that ships with the package, offline, in minutes."""

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fuxi_ens.assets import config_file
from fuxi_ens.config import load_config
from fuxi_ens.paths import RunPaths
from pipelines import forecast, scorecard, statistics, train, verify
from pipelines.options import SetOption

log = logging.getLogger(__name__)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path("runs/demo"),
    overrides: SetOption = None,
) -> None:
    """Train a small model, write 15-day ensembles, score them, and make an HTML report.

    The sample is a nature run: a simulated atmosphere on a 64x32 grid. A demo that was stopped goes on where it was.

    Example: `fuxi-ens demo --out /tmp/demo`
    """
    config = config_file("demo")
    settings = [*(overrides or []), f"run.folder={json.dumps(str(out))}"]
    paths = RunPaths(load_config(config, settings).run.folder)
    console = Console(stderr=True)
    console.print("[bold]1/5[/] statistics of the training winters")
    statistics.statistics(config, settings)
    console.print("[bold]2/5[/] training")
    train.train(config, settings)
    console.print("[bold]3/5[/] 15-day ensembles")
    forecast.forecast(config, settings)
    console.print("[bold]4/5[/] verification against the baseline, climatology and persistence")
    verify.verify(config, settings)
    console.print("[bold]5/5[/] scorecard and report")
    scorecard.scorecard(config=config, overrides=settings)
    typer.echo(f"open {(paths.report / 'report.html').resolve()}")
