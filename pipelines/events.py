"""`fuxi-ens events`: verification of tropical cyclones and heat waves."""

import logging

import typer

from fuxi_ens.paths import RunPaths
from fuxi_ens.provenance import provenance
from pipelines.options import ConfigArgument, SetOption, load_dated

log = logging.getLogger(__name__)

app = typer.Typer(no_args_is_help=True, help="Verify weather events: tropical cyclones and heat waves.")


@app.command()
def cyclones(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Follow reported cyclones in forecast, baseline and truth; errors, spread and strikes against best tracks.

    Needs the section `events.cyclones`. Tracks that are there already are kept.

    Example: `fuxi-ens events cyclones configs/era5_1p5deg.yaml --set events.cyclones.storms='[MANGKHUT]'`
    """
    from fuxi_ens.verify.cyclones.run import verify_cyclones

    settings = load_dated(config, overrides)
    paths = RunPaths(settings.run.folder)
    attributes = provenance(settings, settings.data, settings.forecast, settings.verify, settings.events)
    for file in verify_cyclones(settings, paths.cyclones, str(settings.forecast_store), attributes):
        log.info("%s", file)


@app.command("heat-waves")
def heat_waves(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Probabilities of heat waves in forecast and baseline, verified day by day over a box.

    Needs the section `events.heat_waves`. Files that are there already are kept.

    Example: `fuxi-ens events heat-waves configs/era5_1p5deg.yaml`
    """
    from fuxi_ens.verify.heat_waves.run import verify_heat_waves

    settings = load_dated(config, overrides)
    paths = RunPaths(settings.run.folder)
    attributes = provenance(settings, settings.data, settings.forecast, settings.verify, settings.events)
    for file in verify_heat_waves(settings, paths.heat_waves, str(settings.forecast_store), attributes):
        log.info("%s", file)
