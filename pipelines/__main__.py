"""The `fuxi-ens` command: collects the stage programs, sets up logging, turns user errors into one clear message."""

import errno
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from fuxi_ens import __version__
from fuxi_ens.errors import ExitCode, Stopped, UserError
from fuxi_ens.launch import this_process
from fuxi_ens.progress import is_main_process
from pipelines import (
    audit,
    check,
    climatology,
    demo,
    events,
    export,
    export_forecast,
    forecast,
    model,
    nature_run,
    plot,
    prepare,
    presets,
    progress,
    scorecard,
    statistics,
    submit,
    train,
    verify,
)

_FAILURES = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED,
        errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN,
    }
)  # fmt: skip

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
app.command("progress")(progress.progress)
app.command("forecast")(forecast.forecast)
app.command("verify")(verify.verify)
app.command("export")(export_forecast.export)
app.command("scorecard")(scorecard.scorecard)
app.command("submit")(submit.submit)
data_app.command("audit")(audit.audit)
data_app.command("prepare")(prepare.prepare)
data_app.command("statistics")(statistics.statistics)
data_app.command("climatology")(climatology.climatology)
model_app.command("summary")(model.summary)
model_app.command("presets")(presets.presets)
model_app.command("export")(export.export)
model_app.command("convert")(model.convert)
app.add_typer(events.app, name="events")
app.add_typer(plot.app, name="plot")
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
    """Entry point; exits with an `ExitCode`, with 2 for wrong usage, with 130 for Ctrl-C."""
    code = _run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if this_process().world > 1:
        # Threads of gloo that outlive Python's shutdown may abort the process, and with it a finished job.
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    """Run the command; how it ended."""
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.DONE
    except Stopped as stopped:
        if is_main_process():
            _say("", "", f"{stopped}; start it again to go on from there")
        return ExitCode.STOPPED
    except Exception as error:  # noqa: BLE001 - nothing is swallowed, every kind of end has its exit code
        if not isinstance(error, UserError | OSError) or _machine_failed(error):
            traceback.print_exc()
            return ExitCode.UNEXPECTED
        remedy = "; free space and run the same command again" if _disk_is_full(error) else ""
        _say("error: ", "bold red", f"{error}{remedy}")
        _tell_job_script()
        return ExitCode.USER_ERROR
    return ExitCode.DONE


def _tell_job_script() -> None:
    """Leave a mark for the job script: `srun` hides the exit code of a user error behind those of ranks it kills."""
    mark = os.environ.get("FUXI_ENS_USER_ERROR")
    if mark:
        Path(mark).touch()


def _say(prefix: str, style: str, message: str) -> None:
    # A Text, so that nothing in a path is taken for markup or an emoji.
    Console(stderr=True, soft_wrap=True).print(Text.assemble((prefix, style), message))


def _disk_is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _machine_failed(error: Exception) -> bool:
    """Whether a disk or the network gave up, which is nothing the user can mend."""
    return isinstance(error, OSError) and error.errno in _FAILURES


if __name__ == "__main__":
    main()
