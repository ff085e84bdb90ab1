"""`fuxi-ens model export`: a model for forecasts from a saved state of a training."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from fuxi_ens.config import load_config
from pipelines.options import ConfigArgument, SetOption

log = logging.getLogger(__name__)


def export(
    config: ConfigArgument,
    folder: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the model, e.g. runs/early/model.")],
    overrides: SetOption = None,
    best: Annotated[bool, typer.Option("--best", help="The best state by validation instead of the newest.")] = False,
) -> None:
    """Write the averaged weights of a training state as a model, while the training goes on or after it.

    Forecasts with it need a run file whose run.folder holds DST as `model`.

    Example: `fuxi-ens model export configs/era5_64x32.yaml runs/early/model --best`
    """
    from fuxi_ens.train.export import export_state

    saved = export_state(load_config(config, overrides or []), folder, best=best)
    score = "" if saved.score is None else f", validation score {saved.score:.5g}"
    log.info("%s%s: model written to %s", saved.folder.name, score, folder)
