"""`fuxi-ens data prepare`: from any store to the training store at data.store."""

import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from fuxi_ens.config import load_config
from fuxi_ens.progress import progress
from pipelines.options import ConfigArgument, JsonOption, SetOption

if TYPE_CHECKING:
    from fuxi_ens.data.preparation.estimate import Estimate

log = logging.getLogger(__name__)


def prepare(
    config: ConfigArgument,
    overrides: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost; write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy prepare.source to data.store: chosen channels and times, the model's grid, one chunk per time.

    Look at the source with `fuxi-ens data audit` first: times that it finds fault with belong in data.skip_list before
    the store is begun, because a store cannot change afterwards.

    Interrupt it, even with kill -9, and give the same command again: finished shards are kept. `--dry-run` reads a few
    times and says how many bytes, files and hours it would take.

    Example: `fuxi-ens data prepare configs/era5_1p5deg.yaml --dry-run`
    """
    from fuxi_ens.data.preparation.estimate import estimate
    from fuxi_ens.data.preparation.plan import make_plan
    from fuxi_ens.data.preparation.run import prepare as write

    settings = load_config(config, overrides or [])
    plan = make_plan(settings)
    if dry_run:
        _show(estimate(settings, plan), as_json)
        return
    with progress(f"shards of {plan.target.name}", plan.shard_count) as advance:
        written = write(settings, plan, advance)
    done = {"store": str(plan.target), "shards": plan.shard_count, "written": written}
    if as_json:
        typer.echo(json.dumps(done))
    log.info("%s is complete: %d shards, %d of them new", plan.target, plan.shard_count, written)
    log.info("next: fuxi-ens data statistics %s", config)


def _show(found: "Estimate", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    table = Table("what", "estimate", title="prepare would take, by its first times")
    for what, value in found.in_words().items():
        table.add_row(what, value)
    Console().print(table)
