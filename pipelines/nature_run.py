"""Make a nature run, a physics ensemble from it, and the sample that ships with the package."""

import importlib.util
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from fuxi_ens.errors import UserError
from fuxi_ens.nature.physics import Physics
from fuxi_ens.progress import progress

app = typer.Typer(
    help=(
        "Make a simulated atmosphere to develop on: a free run of the general circulation model "
        "jcm (SPEEDY physics, T31, 8 levels) with observed sea surface temperatures of 1979-2013, "
        "on the WeatherBench 2 grid of 64x32 cells.\n\n"
        "`run` integrates (10 minutes of one core per 3.5 years), `ensemble` forecasts from its "
        "states (7 s a member and 15 days), `sample` cuts and packs what ships in "
        "fuxi_ens/assets/nature_run. `run` and `ensemble` resume: interrupt them, even with kill -9, "
        "and give the same command again.\n\n"
        "`run` and `ensemble` need the extra: pip install 'fuxi-ens[nature-run]'"
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)


def _require_model() -> None:
    """Stop with one message if the extra is missing; otherwise set JAX up for one core."""
    missing = [m for m in ("jcm", "dinosaur", "jax") if importlib.util.find_spec(m) is None]
    if missing:
        raise UserError(f"this command needs {', '.join(missing)}: pip install 'fuxi-ens[nature-run]'")
    # XLA reads these when jax first starts. One thread costs nothing at T31, and sums taken in another
    # order by another number of cores grow into another weather within two weeks.
    os.environ["NPROC"] = "1"
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    warnings.filterwarnings("ignore", category=FutureWarning)


def _levels(text: str) -> tuple[int, ...]:
    if not all(level.isdigit() for level in text.split(",")):
        raise UserError(f"--levels {text!r} must be whole numbers in hPa with commas between, e.g. 500,850")
    return tuple(int(level) for level in text.split(","))


def _report(items: Iterable[object], total: int, what: str) -> None:
    """Drive `items` to the end under a progress bar."""
    with progress(what, total) as advance:
        for _ in items:
            advance(1, "")


Directory = Annotated[Path, typer.Argument(help="Directory of the nature run.", show_default=False)]


@app.command()
def run(
    directory: Directory,
    start: Annotated[str, typer.Option(help="First day, YYYY-MM-DD, from 1979-06 on.")] = "1993-11-29",
    end: Annotated[str, typer.Option(help="Last day, until 2013-11.")] = "1997-03-03",
    spinup_days: Annotated[int, typer.Option(help="Days from rest, left out; at least 90.")] = 90,
    levels: Annotated[
        str, typer.Option(help="Pressure levels to keep, hPa.")
    ] = "50,100,150,200,250,300,400,500,600,700,850,925,1000",
) -> None:
    """Integrate from rest; write DIRECTORY/nature_run.zarr and a restart state every five days.

    The span must be a multiple of five days. The disk takes 0.2 MB a day and level kept, and
    another 0.8 MB a day for the states, from which `ensemble` starts and perturbs.

    Example: `fuxi-ens nature-run run scratch/nature --levels 500,850`
    """
    _require_model()
    from fuxi_ens.nature.plan import Plan, store_path
    from fuxi_ens.nature.run import integrate

    plan = Plan(start, end, spinup_days, _levels(levels))
    _report(integrate(directory, plan), plan.blocks_left(directory) + 1, "blocks of five days")
    typer.echo(f"complete: {store_path(directory)}")


@app.command()
def ensemble(
    directory: Directory,
    output: Annotated[Path, typer.Argument(help="Directory of the ensemble.", show_default=False)],
    init_time: Annotated[list[str], typer.Option(help="YYYY-MM-DD, 00 UTC; give it once for each.")],
    members: Annotated[int, typer.Option(help="Ensemble size.")] = 20,
    steps: Annotated[int, typer.Option(help="Steps of 6 h, a multiple of 20.")] = 60,
    factor: Annotated[float, typer.Option(help="Size of perturbations, in differences of two states.")] = 0.15,
    levels: Annotated[str, typer.Option(help="Pressure levels to keep, hPa.")] = "500,850",
    physics: Annotated[Physics, typer.Option(help="The model of the run, or one with other constants.")] = "perfect",
    worker: Annotated[int, typer.Option(help="Which part of the members, from 0.")] = 0,
    workers: Annotated[int, typer.Option(help="Parts to share, one process each.")] = 1,
) -> None:
    """Forecast from perturbed states of the run, with its model or a wrong one; write OUTPUT/physics_ens.zarr.

    Init times must be multiples of five days from the start of the run, and the run must hold an
    earlier winter (or summer): perturbations are differences of states of earlier years.

    Example: `fuxi-ens nature-run ensemble scratch/nature scratch/ensemble --init-time 1997-01-02`
    """
    _require_model()
    from fuxi_ens.nature.ensemble import forecast_all
    from fuxi_ens.nature.ensemble_plan import STORE_NAME, EnsemblePlan

    times = tuple(np.datetime64(time, "h") for time in init_time)
    plan = EnsemblePlan(directory, times, members, steps, factor, _levels(levels), physics)
    total = len(plan.forecasts[worker::workers])
    _report(forecast_all(output, plan, worker, workers), total, "members")
    typer.echo(f"complete: {output / STORE_NAME}")


@app.command()
def sample(
    directory: Directory,
    ensemble_directory: Annotated[Path, typer.Argument(help="Directory of the ensemble.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Where the two stores go; they must not be there yet.")] = Path(
        "fuxi_ens/assets/nature_run"
    ),
) -> None:
    """Cut and pack the embedded stores; print sizes and the largest rounding errors.

    What is cut, and how precisely, is stated in fuxi_ens/nature/embedded.py.

    Example: `fuxi-ens nature-run sample scratch/nature scratch/ensemble --output scratch/sample`
    """
    from fuxi_ens.nature import embedded

    report = embedded.write(directory, ensemble_directory, output)
    typer.echo(report)
