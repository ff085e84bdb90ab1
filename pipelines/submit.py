"""`fuxi-ens submit`: stages of a run as jobs of a SLURM cluster."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fuxi_ens.config import load_config
from pipelines.options import ConfigArgument, SetOption, load_dated


class Target(StrEnum):
    """What can be submitted."""

    CHAIN = "chain"
    PREPARE = "prepare"
    STATISTICS = "statistics"
    CLIMATOLOGY = "climatology"
    TRAIN = "train"
    FORECAST = "forecast"
    VERIFY = "verify"
    SCORECARD = "scorecard"
    CYCLONES = "cyclones"
    HEAT_WAVES = "heat-waves"


_DATED = (
    Target.CHAIN,
    Target.FORECAST,
    Target.VERIFY,
    Target.SCORECARD,
    Target.CYCLONES,
    Target.HEAT_WAVES,
)
"""Those that look at init times; the others may run before there is an analysis to start from."""


def submit(
    what: Annotated[Target, typer.Argument(help="A stage, or `chain` for all of them.", show_default=False)],
    config: ConfigArgument,
    overrides: SetOption = None,
    site: Annotated[
        Path | None,
        typer.Option(help="Site file; default: $FUXI_ENS_SITE, slurm/site.yaml, or ~/.config/fuxi_ens/site.yaml."),
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes for training instead of the site's.")] = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="Jobs that share a forecast's init times.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print commands and scripts; submit nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Submit although such a job is in the queue.")] = False,
) -> None:
    """Submit a stage, or all stages as jobs that wait for each other.

    Jobs go back into the queue at their time limit and at a preemption, and go on where they were. Scripts and logs are
    in the folder `jobs` of the run folder. With `forecast.init_times: latest` all of them use the time that is the
    newest when they are submitted.

    Example: `fuxi-ens submit train configs/era5_64x32.yaml --nodes 2 --dry-run`
    """
    from fuxi_ens.slurm.chain import make_chain
    from fuxi_ens.slurm.jobs import JobKind, make_job
    from fuxi_ens.slurm.site import load_site
    from fuxi_ens.slurm.submission import Request, preview
    from fuxi_ens.slurm.submission import submit as submit_jobs

    load = load_dated if what in _DATED else load_config
    request = Request(load(config, overrides or []), config, overrides or [], load_site(site))
    sizes = {"nodes": nodes, "parts": tasks}
    if what is Target.CHAIN:
        jobs = make_chain(request.config, request.site, **sizes)
    else:
        jobs = [make_job(JobKind(what.value), request.config, request.site, **sizes)]
    if dry_run:
        typer.echo(preview(request, jobs), nl=False)
        return
    accepted = submit_jobs(request, jobs, force=force)
    for entry in accepted:
        typer.echo(f"{entry.kind:12}job {entry.job}, log {entry.log}")
    numbers = [entry.job for entry in accepted]
    typer.echo(f"watch: squeue --jobs={','.join(numbers)}; fuxi-ens progress {config}; tail -F LOG")
    typer.echo(f"stop:  scancel {' '.join(numbers)}; the same submission goes on from there")
