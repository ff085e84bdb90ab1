"""`fuxi-ens forecast`: from a model and init times to an ensemble store."""

import logging
from datetime import datetime
from typing import Annotated

import numpy as np
import typer

from fuxi_ens.config import load_config
from pipelines.options import ConfigArgument, SetOption

log = logging.getLogger(__name__)


def forecast(
    config: ConfigArgument,
    overrides: SetOption = None,
    init: Annotated[list[datetime] | None, typer.Option(help="Only this init time of the config. Repeatable.")] = None,
    members: Annotated[int | None, typer.Option(help="Short for --set forecast.members=N.")] = None,
) -> None:
    """Write the ensembles of forecast.init_times; init times already complete are left alone.

    The store has WeatherBench 2 names and dims and opens with `xr.open_zarr`.

    Example: `fuxi-ens forecast configs/era5_64x32.yaml --init 2018-01-01 --init 2018-01-01T12:00:00`
    """
    from fuxi_ens.forecast.ensemble import run_forecast

    settings = [*(overrides or []), *([f"forecast.members={members}"] if members is not None else [])]
    chosen = np.array(init, dtype="datetime64[ns]") if init else None
    store = run_forecast(load_config(config, settings), chosen)
    log.info("ensembles written to %s", store)
