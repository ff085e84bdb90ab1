"""`fuxi-ens forecast`: from a model and init times to an ensemble store."""

import logging
import re
from datetime import datetime
from typing import Annotated, Final

import numpy as np
import typer

from fuxi_ens.errors import UserError
from fuxi_ens.progress import is_main_process
from pipelines.options import ConfigArgument, SetOption, load_dated

log = logging.getLogger(__name__)
_LATEST: Final = "latest"


def _read_init(text: str) -> str:
    """An init time, or `latest`."""
    try:
        return text if text == _LATEST else datetime.fromisoformat(text).isoformat()
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time like 2018-01-01T12:00, and not {_LATEST}") from error


def _read_part(text: str) -> slice:
    """`1/4` as the slice 1::4."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise typer.BadParameter(f"{text!r} is no K/N with K from 0 to N - 1, like 0/4")
    return slice(int(match[1]), None, int(match[2]))


def forecast(
    config: ConfigArgument,
    overrides: SetOption = None,
    init: Annotated[
        list[str] | None,
        typer.Option(
            parser=_read_init,
            metavar="TIME|latest",
            help="Only this init time of the config. Repeatable. `latest` means --set forecast.init_times=latest.",
        ),
    ] = None,
    part: Annotated[
        slice | None,
        typer.Option(
            parser=_read_part,
            metavar="K/N",
            help="Only every Nth work item (an init time, or a block of its members) from the Kth on, counted from 0.",
        ),
    ] = None,
    members: Annotated[int | None, typer.Option(help="Short for --set forecast.members=N.")] = None,
) -> None:
    """Write the ensembles of forecast.init_times; what is already complete is left alone.

    The store has WeatherBench 2 names and dims and opens with `xr.open_zarr`. Processes that srun or torchrun starts
    together divide the work, and so do several of these commands at the same time; the bits are those of a single one.
    Exit code 1 if members were given up.

    With `latest`, the newest time of which forecast.store has the whole history, the store is `forecast_TIME.zarr`.

    Example: `fuxi-ens forecast configs/era5_64x32.yaml --init 2018-01-01 --init 2018-01-01T12:00`

    Example: `fuxi-ens forecast run.yaml --init latest --set forecast.store='opendata/*.grib2'`
    """
    from fuxi_ens.forecast.ensemble import run_forecast
    from fuxi_ens.forecast.estimate import planned
    from fuxi_ens.online.sink import sinks

    changes = [*(overrides or []), *([f"forecast.members={members}"] if members is not None else [])]
    if init and _LATEST in init:
        if len(init) > 1:
            raise typer.BadParameter(f"--init {_LATEST} stands alone")
        changes, init = [*changes, f"forecast.init_times={_LATEST}"], None
    settings = load_dated(config, changes)
    chosen = np.array(init, dtype="datetime64[ns]") if init else None
    log.info("forecast: %s", planned(settings))
    summary = run_forecast(settings, chosen, part or slice(None), sinks(settings))
    log.info("%s", summary)
    if summary.failed and is_main_process():
        raise UserError(f"{len(summary.failed)} members were given up and are missing: {'; '.join(summary.failed)}")
