"""`fuxi-ens verify`: from ensembles, baseline and truth to statistics per system and init time."""

import logging

from fuxi_ens.paths import RunPaths
from fuxi_ens.provenance import provenance
from pipelines.options import ConfigArgument, SetOption, load_dated

log = logging.getLogger(__name__)


def verify(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Score the forecast, the baseline, climatology and persistence against the truth.

    Writes one small file per system and init time; files that are there already are kept.

    Example: `fuxi-ens verify configs/era5_64x32.yaml`
    """
    from fuxi_ens.verify.run import verify as run_verify

    settings = load_dated(config, overrides)
    paths = RunPaths(settings.run.folder)
    attributes = provenance(settings, settings.data, settings.forecast, settings.verify)
    files = run_verify(settings, paths.scores, str(settings.forecast_store), attributes)
    log.info("%d statistics files in %s", len(files), paths.scores)
