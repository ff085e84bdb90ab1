"""`fuxi-ens train`: from a store and its statistics to a model folder."""

import logging

from fuxi_ens.config import load_config
from fuxi_ens.train.loop import fit
from pipelines.options import ConfigArgument, SetOption

log = logging.getLogger(__name__)


def train(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Train, or go on from the newest saved state in the run folder.

    Needs the statistics (`fuxi-ens data statistics`). A run that was stopped continues with the same bits when it is
    started again with the same config.

    Example: `fuxi-ens train configs/era5_64x32.yaml --set run.folder=/scratch/me/run1`
    """
    folder = fit(load_config(config, overrides or []))
    log.info("model written to %s", folder)
