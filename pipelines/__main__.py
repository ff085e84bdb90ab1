"""The `fuxi-ens` command: collects the stage programs, sets up logging, turns user errors into one clear message."""

import errno
import logging
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from fuxi_ens import __version__
from fuxi_ens.errors import UserError
from fuxi_ens.progress import is_main_process
from pipelines import (
    audit,
    check,
    climatology,
    demo,
    forecast,
    model,
    nature_run,
    prepare,
    scorecard,
    statistics,
    train,
    verify,
)

app = typer.Typer(
    name="fuxi-ens",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="FuXi-ENS from ERA5 to scorecard. Start with `fuxi-ens demo`, then read configs/ and docs/.",
)
data_app = typer.Typer(no_args_is_help=True, help="Prepare what training needs from an analysis store.")
model_app = typer.Typer(no_args_is_help=True, help="Look at a model before spending on it.")

app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("train")(train.train)
app.command("forecast")(forecast.forecast)
app.command("verify")(verify.verify)
app.command("scorecard")(scorecard.scorecard)
data_app.command("audit")(audit.audit)
data_app.command("prepare")(prepare.prepare)
data_app.command("statistics")(statistics.statistics)
data_app.command("climatology")(climatology.climatology)
model_app.command("summary")(model.summary)
model_app.command("convert")(model.convert)
app.add_typer(data_app, name="data")
app.add_typer(model_app, name="model")
app.add_typer(nature_run.app, name="nature-run")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fuxi-ens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
    level = logging.DEBUG if verbose else logging.WARNING if quiet or not is_main_process() else logging.INFO
    console = Console(stderr=True)
    if console.is_terminal:
        logging.basicConfig(format="%(message)s", handlers=[RichHandler(console=console, show_path=False)])
    else:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    for package in ("fuxi_ens", "pipelines"):
        logging.getLogger(package).setLevel(level)


def main() -> None:
    """Entry point: exit code 0, 1 for a user error, 2 for wrong usage."""
    try:
        app()
    except (UserError, OSError) as error:
        # A Text, so that nothing in a path is taken for markup or an emoji.
        remedy = "; free space and run the same command again" if _disk_is_full(error) else ""
        message = Text.assemble(("error: ", "bold red"), f"{error}{remedy}")
        Console(stderr=True, soft_wrap=True).print(message)
        sys.exit(1)


def _disk_is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


if __name__ == "__main__":
    main()
