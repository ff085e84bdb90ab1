"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fuxi_ens.config import Config, load_config

ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML file of the run, see configs/.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. --set run.seed=3. May be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Stage(StrEnum):
    """Parts of a run that can be checked alone."""

    TRAIN = "train"
    FORECAST = "forecast"
    VERIFY = "verify"


def load_dated(config: Path, overrides: list[str] | None) -> Config:
    """The run file, with a date in place of `latest`: the same for every command that looks at the same store."""
    from fuxi_ens.forecast.initial import resolved

    return resolved(load_config(config, overrides or []))
