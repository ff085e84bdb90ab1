"""`fuxi-ens train`: from a store and its statistics to a model folder."""

import logging
from enum import StrEnum
from typing import Annotated

import typer

from fuxi_ens.config import load_config
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
    started again with the same config.

    Example: `fuxi-ens train configs/era5_64x32.yaml --set run.folder=/scratch/me/run1`
    """
    from fuxi_ens.train.loop import fit

    folder = fit(load_config(config, overrides or []), resume=resume is Resume.AUTO)
    log.info("model written to %s", folder)
