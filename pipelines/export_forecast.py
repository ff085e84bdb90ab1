"""`fuxi-ens export`: from an ensemble store to CF NetCDF or GRIB2 files."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from fuxi_ens.export.numbers import read_numbers
from fuxi_ens.export.run import Format
from fuxi_ens.export.run import export as run_export
from fuxi_ens.export.source import Wanted
from pipelines.options import SetOption, load_dated

log = logging.getLogger(__name__)


def export(
    source: Annotated[str, typer.Argument(metavar="CONFIG|STORE", help="YAML file of the run, or an ensemble store.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the files.", show_default=False)],
    file_format: Annotated[Format, typer.Option("--format", help="CF NetCDF, or GRIB2 (extra `grib`).")],
    init: Annotated[list[datetime] | None, typer.Option(help="Only this init time. Repeatable.")] = None,
    channels: Annotated[str | None, typer.Option(help="Only these, e.g. z500,t850,t2m.")] = None,
    members: Annotated[str | None, typer.Option(help="Only these numbers, e.g. 0-9,12.")] = None,
    leads: Annotated[str | None, typer.Option(help="Only these lead times in hours, e.g. 24-240/24.")] = None,
    per_variable: Annotated[bool, typer.Option("--per-variable", help="One file per init time and variable.")] = False,
    overrides: SetOption = None,
) -> None:
    """Write forecasts as files that other software reads; files that are there already are left alone.

    Several processes may export different init times into one folder.

    Example: `fuxi-ens export configs/era5_64x32.yaml --format grib --leads 24-240/24 --out grib`
    """
    store, configured = _store(source, overrides or [])
    wanted = Wanted(
        init_times=np.array(init, dtype="datetime64[ns]") if init else None,
        members=None if members is None else read_numbers(members, "--members"),
        lead_hours=None if leads is None else read_numbers(leads, "--leads"),
        channels=configured if channels is None else tuple(name.strip() for name in channels.split(",")),
    )
    files = run_export(store, out, file_format, wanted, per_variable=per_variable)
    log.info("%d files in %s", len(files), out)


def _store(source: str, overrides: list[str]) -> tuple[str, tuple[str, ...] | None]:
    """Address of the store, and the channels it was made with if that is known."""
    if Path(source).suffix in (".yaml", ".yml"):
        settings = load_dated(Path(source), overrides)
        return str(settings.forecast_store), settings.forecast.channels
    if overrides:
        raise typer.BadParameter("--set changes a run file, and a store has none; name the CONFIG")
    return source, None
