"""`fuxi-ens model`: facts about a network without building it in memory."""

import json

import typer
from rich.console import Console
from rich.table import Table

from fuxi_ens.config import load_config
from pipelines.options import ConfigArgument, JsonOption, SetOption


def summary(config: ConfigArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Count the parameters of the networks a config describes.

    Example: `fuxi-ens model summary configs/era5_0p25deg.yaml`
    """
    from fuxi_ens.model.summary import summarize

    facts = summarize(load_config(config, overrides or []).model)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table("quantity", "value", title="Model")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    Console().print(table)
