"""`fuxi-ens train`: from a store and its statistics to a model folder."""

import logging
from enum import StrEnum
from typing import Annotated

import typer

from fuxi_ens.config import load_config
from fuxi_ens.progress import is_main_process
from fuxi_ens.train.signals import stop_request
from pipelines.options import ConfigArgument, SetOption

log = logging.getLogger(__name__)


class Resume(StrEnum):
    """What to do with a run that was started before."""

    AUTO = "auto"
    NEVER = "never"


def train(
    config: ConfigArgument,
    overrides: SetOption = None,
    resume: Annotated[Resume, typer.Option(help="`auto` goes on where a run stopped, `never` refuses.")] = Resume.AUTO,
) -> None:
    """Train, or go on from the newest saved state in the run folder.

    Needs the statistics (`fuxi-ens data statistics`). A run that was stopped continues with the same bits when it is
    started again with the same config. Started by `srun` or `torchrun`, all processes train together. SIGUSR1 and
    SIGTERM end it after the iteration, with everything saved and exit code 75.

    Example: `fuxi-ens train configs/era5_64x32.yaml --set run.folder=/scratch/me/run1`
    """
    with stop_request.listening():
        # Heavy imports come after the listening: a signal in between would kill.
        from fuxi_ens.plot.training import draw_validation
        from fuxi_ens.train.loop import fit

        try:
            folder = fit(load_config(config, overrides or []), resume=resume is Resume.AUTO, draw=draw_validation)
        except KeyboardInterrupt:
            if is_main_process():
                log.warning("interrupted; the same command goes on from the newest saved state")
            raise
    log.info("model written to %s", folder)
