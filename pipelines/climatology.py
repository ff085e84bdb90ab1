"""`fuxi-ens data climatology`: mean, spread and quantiles by day of the year and hour."""

import logging

from fuxi_ens.config import load_config
from fuxi_ens.files import require_writable
from pipelines.options import ConfigArgument, SetOption

log = logging.getLogger(__name__)


def climatology(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Make the climatology of data.train, or of climatology.periods, in WeatherBench 2's layout. One there is kept.

    A run that was killed goes on where it was when the same command is given again.

    Example: `fuxi-ens data climatology configs/era5_64x32.yaml --set climatology.quantiles=[]`
    """
    from fuxi_ens.data.climatology.run import make_climatology

    settings = load_config(config, overrides or [])
    require_writable(settings.run.folder)
    path = make_climatology(settings)
    log.info("climatology written to %s; fuxi_ens.stores.climatology.open_climatology reads it", path)
