"""`fuxi-ens forecast`: from a model and init times to an ensemble store."""

import logging

from fuxi_ens.config import load_config
from fuxi_ens.forecast.ensemble import run_forecast
from pipelines.options import ConfigArgument, SetOption

log = logging.getLogger(__name__)


def forecast(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Write the ensembles of forecast.init_times; init times already complete are left alone.

    The store has WeatherBench 2 names and dims and opens with `xr.open_zarr`.

    Example: `fuxi-ens forecast configs/era5_64x32.yaml --set forecast.members=10`
    """
    store = run_forecast(load_config(config, overrides or []))
    log.info("ensembles written to %s", store)
