"""`fuxi-ens check`: preflight of a run; nothing is run."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fuxi_ens.config import load_config
from pipelines.options import ConfigArgument, JsonOption, SetOption, Stage


def check(
    config: ConfigArgument,
    overrides: SetOption = None,
    stage: Annotated[list[Stage] | None, typer.Option(help="Only what this stage needs. Repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check config, stores, dates, disk and memory before a job is submitted; exit 1 at the first thing wrong.

    Example: `fuxi-ens check configs/era5_64x32.yaml --stage train`
    """
    from fuxi_ens.preflight import STAGES, preflight

    findings = list(preflight(load_config(config, overrides or []), stage or STAGES))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
        return
    table = Table("check", "found", title=f"{config} is ready to run")
    for finding in findings:
        table.add_row(finding.check, finding.detail)
    Console().print(table)
