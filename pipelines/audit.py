"""`fuxi-ens data audit`: what is in a store, what is wrong with it, and which times training must leave out."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from fuxi_ens.channels import in_tensor_order, is_channel
from fuxi_ens.config import DaskConfig, load_config
from fuxi_ens.errors import StoreError, UserError
from pipelines.options import JsonOption

if TYPE_CHECKING:
    from fuxi_ens.data.audit.report import Audit

log = logging.getLogger(__name__)

_COLORS = {"wrong": "bold red", "skip": "yellow", "note": "cyan"}


def audit(
    store: Annotated[str, typer.Argument(metavar="STORE", help="Path, URL, or asset:NAME.", show_default=False)],
    channels: Annotated[str | None, typer.Option(metavar="z500,t2m", help="Only these; default all found.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="Times to read, evenly spread.")] = 24,
    full: Annotated[bool, typer.Option("--full", help="Read all times, on Dask.")] = False,
    config: Annotated[Path | None, typer.Option(help="Run file whose section dask describes --full's workers.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads that read; 0 takes all cores.")] = 0,
    skip_list: Annotated[Path | None, typer.Option(help="Where to write the times to leave out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Report extent, layout, units, orientation, ranges, gaps, duplicates, absent and damaged fields of a store.

    Without `--full` a sample of the times is read, and those whose chunks are absent or conspicuously small. Exits with
    1 if something must be mended before training; times that only have to be left out go to the skip list
    (data.skip_list in a run file).

    Example: `fuxi-ens data audit gs://weatherbench2/datasets/era5/1959-2023_01_10-6h-64x32_equiangular_conservative.zarr`
    """
    from fuxi_ens.data.audit.run import AuditOptions
    from fuxi_ens.data.audit.run import audit as look
    from fuxi_ens.data.skip import write_skip_list

    dask = load_config(config, []).dask if config else DaskConfig()
    result = look(store, _names(channels), AuditOptions(full, samples, threads, dask))
    if skip_list:
        write_skip_list(skip_list, store, result.skip)
        log.info("%s names %d times to leave out; name it in data.skip_list", skip_list, len(result.skip))
    if as_json:
        typer.echo(json.dumps(result.as_json()))
    else:
        _show(result, Console(), wrote=skip_list is not None)
    if result.is_wrong:
        wrong = sum(problem.severity == "wrong" for problem in result.problems)
        raise StoreError(f"{result.store} must be mended before training: {wrong} findings are `wrong`")


def _names(channels: str | None) -> tuple[str, ...] | None:
    if channels is None:
        return None
    names = [name.strip() for name in channels.split(",")]
    unknown = [name for name in names if not is_channel(name)]
    if unknown:
        raise UserError(f"--channels names {unknown}, which are no channels; write them like z500,t2m,tp")
    return in_tensor_order(tuple(dict.fromkeys(names)))


def _show(result: "Audit", console: Console, *, wrote: bool) -> None:
    # Texts of stores are not markup: a unit such as [0-1] has to stay.
    for table in (_summary(result), _layout(result), _ranges(result), _problems(result)):
        if table.row_count:
            console.print(table, markup=False)
    if result.skip and not wrote:
        console.print(f"{len(result.skip)} times to leave out; --skip-list PATH writes them for data.skip_list")


def _summary(result: "Audit") -> Table:
    table = Table("what", "found", title="summary")
    extent = result.extent
    every = f", every {extent.step_hours:g} h" if extent.step_hours else ""
    rows = {
        "store": result.store,
        "times": f"{extent.times} from {extent.first} to {extent.last}{every}",
        "latitude": extent.latitude,
        "longitude": extent.longitude,
        "levels": " ".join(map(str, extent.levels)),
        "channels": f"{len(result.channels)} looked at, {len(result.absent_channels)} of 78 absent",
        "absent": " ".join(result.absent_channels),
        **{f"looked at {i}": what for i, what in enumerate(result.looked_at, 1)},
    }
    for what, found in rows.items():
        if found:
            table.add_row(what, found)
    return table


def _layout(result: "Audit") -> Table:
    columns = ("type", "units", "chunk", "MB", "shard")
    table = Table(Column("variable", no_wrap=True), *columns, title="layout")
    table.columns[0].overflow = "fold"
    for row in result.variables:
        size = f"{row.chunk_bytes / 1e6:.3g}" if row.chunk_bytes else ""
        chunk = ", ".join(map(" ".join, zip(row.dims.split(), row.chunk.split("x"), strict=True))) if row.chunk else ""
        table.add_row(row.name, row.dtype, row.units, chunk or row.dims, size, row.shard)
    return table


def _ranges(result: "Audit") -> Table:
    table = Table("channel", "lowest", "mean", "highest", "units", "missing", title="ranges of the times read")
    for row in result.channels:
        numbers = ["" if number is None else f"{number:.5g}" for number in (row.low, row.mean, row.high)]
        table.add_row(row.name, *numbers, row.units, f"{row.missing_share:.1%}" if row.missing_share else "")
    return table


def _problems(result: "Audit") -> Table:
    table = Table("severity", "what", "where and why", title="findings")
    for row in result.problems:
        span = row.first if row.times == 1 else f"{row.times} times from {row.first} to {row.last}"
        table.add_row(
            row.severity, row.what, f"{span}: {row.detail}" if row.times else row.detail, style=_COLORS[row.severity]
        )
    if not result.problems:
        table.add_row("", "none", "nothing conspicuous in what was looked at")
    return table
