"""`fuxi-ens data statistics`: per-channel mean and standard deviation over the training years."""

import logging

from fuxi_ens.config import load_config
from fuxi_ens.files import require_writable
from fuxi_ens.paths import RunPaths
from pipelines.options import ConfigArgument, SetOption

log = logging.getLogger(__name__)


def statistics(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Compute the statistics that standardize the channels, over data.train only. A file that is there is kept.

    A pass that was killed goes on where it was when the same command is given again.

    Example: `fuxi-ens data statistics configs/era5_64x32.yaml`
    """
    from fuxi_ens.data.era5 import open_configured
    from fuxi_ens.data.statistics import compute_statistics, forget_sums, load_statistics

    settings = load_config(config, overrides or [])
    require_writable(settings.run.folder)
    path = RunPaths(settings.run.folder).statistics
    if path.exists():
        log.info("%s is there already, for %d frames", path, load_statistics(path, settings).frames)
        return
    analysis = open_configured(settings)
    analysis.require_plausible(analysis.times[0])
    result = compute_statistics(settings)
    result.save(path)
    forget_sums(settings)
    log.info("statistics of %d channels over %d frames written to %s", len(result.channels), result.frames, path)
