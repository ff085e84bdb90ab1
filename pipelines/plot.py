"""`fuxi-ens plot`: pictures of one forecast, from a run or from any ensemble store."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from fuxi_ens.config import load_config
from pipelines.options import SetOption, load_dated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fuxi_ens.plot.chosen import Chosen

log = logging.getLogger(__name__)

app = typer.Typer(no_args_is_help=True, help="Pictures of one forecast: maps, plumes, meteograms, contours, risks.")

ConfigArgument = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG]", help="The run whose forecast is drawn, see configs/.")
]
StoreOption = Annotated[str | None, typer.Option(help="An ensemble store to draw instead of the run's forecast.")]
TruthOption = Annotated[str | None, typer.Option(help="Analysis to draw beside it; default: the config's.")]
NoTruthOption = Annotated[bool, typer.Option("--no-truth", help="Draw the forecast alone.")]
ChannelOption = Annotated[str | None, typer.Option(help="What to draw, e.g. t2m; default: z500.")]
ChannelsOption = Annotated[list[str] | None, typer.Option("--channel", help="What to draw. May be repeated.")]
InitOption = Annotated[datetime | None, typer.Option(help="Init time; default: the last one in the store.")]
LeadOption = Annotated[
    float | None, typer.Option(help="Lead time in hours; default: report.map_lead_hours, or the store's last.")
]
PlaceOption = Annotated[
    str | None, typer.Option(metavar="NAME,LAT,LON", help="Where, in degrees; default: report.place.")
]
MembersOption = Annotated[int | None, typer.Option(help="Only the first N members; default: all.")]
RegionOption = Annotated[str, typer.Option(help="Part of the globe, e.g. europe.")]
OutOption = Annotated[
    Path | None, typer.Option(help=".png, .svg or .pdf file; default: a PNG in the run's report folder, or here.")
]
DpiOption = Annotated[int | None, typer.Option(min=30, max=1200, help="Dots per inch of a PNG; default: 160.")]


@dataclass(frozen=True)
class _Target:
    """Where a picture goes."""

    out: Path | None
    dpi: int | None

    def save(self, chosen: "Chosen", figure: "Figure", kind: str, names: str, when: np.datetime64, detail: str) -> None:
        from fuxi_ens.plot.figure import DPI, save_figure

        path = chosen.path(self.out, kind, names, when, detail)
        log.info("%s", save_figure(figure, path, self.dpi or DPI))


def _open(
    config: Path | None,
    overrides: list[str] | None,
    stores: tuple[str | None, str | None, bool],
    members: int | None,
    out: Path | None,
    *,
    with_baseline: bool = False,
) -> "Chosen":
    from fuxi_ens.plot.chosen import Wanted, open_chosen, require_picture

    if overrides and not config:
        raise typer.BadParameter("--set changes settings of a CONFIG; give one too")
    require_picture(out)
    # A store that is named needs no date.
    load = load_dated if stores[0] is None else load_config
    settings = load(config, overrides or []) if config else None
    return open_chosen(Wanted(settings, *stores, members=members, with_baseline=with_baseline))


def _time(init: datetime | None) -> np.datetime64 | None:
    return None if init is None else np.datetime64(init, "ns")


@app.command("map")
def draw_map(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    store: StoreOption = None,
    truth: TruthOption = None,
    no_truth: NoTruthOption = False,
    channel: ChannelOption = None,
    init: InitOption = None,
    lead: LeadOption = None,
    members: MembersOption = None,
    region: RegionOption = "global",
    stamps: Annotated[bool, typer.Option("--stamps", help="A small map of every member instead.")] = False,
    out: OutOption = None,
    dpi: DpiOption = None,
) -> None:
    """Map the ensemble mean and the spread, with an analysis also the truth and the error of the mean.

    Example: `fuxi-ens plot map configs/demo.yaml --channel t2m --lead 72 --region europe`
    """
    from fuxi_ens.plot import maps
    from fuxi_ens.plot.geography import region_named

    part = region_named(region)
    chosen = _open(config, overrides, (store, truth, no_truth), members, out)
    shown = chosen.snapshot(channel, _time(init), lead)
    figure = maps.stamps(shown, part) if stamps else maps.ensemble_maps(shown, part)
    kind = "stamps" if stamps else "map"
    _Target(out, dpi).save(chosen, figure, kind, shown.name, shown.init_time, f"{shown.hours}h")


@app.command()
def spaghetti(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    store: StoreOption = None,
    truth: TruthOption = None,
    no_truth: NoTruthOption = False,
    channel: ChannelOption = None,
    contour: Annotated[
        list[float] | None, typer.Option(help="Value of a contour, in the units of the picture. May be repeated.")
    ] = None,
    init: InitOption = None,
    lead: LeadOption = None,
    members: MembersOption = None,
    region: Annotated[str | None, typer.Option(help="Part of the globe; default: around the North Pole.")] = None,
    out: OutOption = None,
    dpi: DpiOption = None,
) -> None:
    """Draw a few contours of every member, the ensemble mean thick; z500 in geopotential decameters.

    Example: `fuxi-ens plot spaghetti configs/demo.yaml --lead 120 --contour 540 --contour 564`
    """
    from fuxi_ens.plot import geography
    from fuxi_ens.plot import spaghetti as drawn

    part = geography.region_named(region or geography.northern_cap())
    chosen = _open(config, overrides, (store, truth, no_truth), members, out)
    shown = chosen.snapshot(channel, _time(init), lead)
    figure = drawn.spaghetti(shown, contour or drawn.usual_contours(shown, part), part)
    _Target(out, dpi).save(chosen, figure, "spaghetti", shown.name, shown.init_time, f"{shown.hours}h")


@app.command()
def probability(
    threshold: Annotated[float, typer.Option(help="In the units of the picture: C, mm, hPa, m/s, dam.")],
    config: ConfigArgument = None,
    overrides: SetOption = None,
    store: StoreOption = None,
    truth: TruthOption = None,
    no_truth: NoTruthOption = False,
    channel: ChannelOption = None,
    below: Annotated[bool, typer.Option("--below", help="Of falling below the threshold, not exceeding it.")] = False,
    init: InitOption = None,
    lead: LeadOption = None,
    members: MembersOption = None,
    region: RegionOption = "global",
    out: OutOption = None,
    dpi: DpiOption = None,
) -> None:
    """Map the share of members above, or below, a threshold; with an analysis also the threshold's contour there.

    Example: `fuxi-ens plot probability configs/demo.yaml --channel t2m --threshold 0 --below`
    """
    from fuxi_ens.plot.geography import region_named
    from fuxi_ens.plot.probability import Event, probability_map

    part = region_named(region)
    chosen = _open(config, overrides, (store, truth, no_truth), members, out)
    shown = chosen.snapshot(channel, _time(init), lead)
    figure = probability_map(shown, Event(threshold, below), part)
    sign = "below" if below else "above"
    detail = f"{shown.hours}h_{sign}_{threshold:g}"
    _Target(out, dpi).save(chosen, figure, "probability", shown.name, shown.init_time, detail)


@app.command()
def plume(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    store: StoreOption = None,
    truth: TruthOption = None,
    no_truth: NoTruthOption = False,
    channel: ChannelsOption = None,
    init: InitOption = None,
    place: PlaceOption = None,
    members: MembersOption = None,
    out: OutOption = None,
    dpi: DpiOption = None,
) -> None:
    """Draw all members at one place against time, with quantile bands, truth and baseline of the config.

    Example: `fuxi-ens plot plume configs/demo.yaml --channel z500 --place Berlin,52.5,13.4`
    """
    from fuxi_ens.plot.place_title import place_title
    from fuxi_ens.plot.plume import plume as drawn

    chosen = _open(config, overrides, (store, truth, no_truth), members, out, with_baseline=True)
    where, forecast = chosen.place(place), chosen.forecast
    when = forecast.init_time(_time(init))
    names = forecast.names_or_headline(channel or (chosen.report.plume_channels if chosen.report else ()))
    cases = [forecast.series(name, when, where) for name in names]
    figure = drawn(cases, where, chosen.baseline_name, place_title(cases[0], where, forecast.system))
    _Target(out, dpi).save(chosen, figure, "plume", "_".join(names), when, where.slug)


@app.command()
def meteogram(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    store: StoreOption = None,
    truth: TruthOption = None,
    no_truth: NoTruthOption = False,
    channel: ChannelsOption = None,
    init: InitOption = None,
    place: PlaceOption = None,
    members: MembersOption = None,
    out: OutOption = None,
    dpi: DpiOption = None,
) -> None:
    """Draw box plots of the members at one place against time: pressure, temperature, wind speed, precipitation.

    Example: `fuxi-ens plot meteogram configs/demo.yaml --place Reading,51.4,-0.9`
    """
    from fuxi_ens.plot.meteogram import meteogram as drawn

    chosen = _open(config, overrides, (store, truth, no_truth), members, out)
    where, forecast = chosen.place(place), chosen.forecast
    when = forecast.init_time(_time(init))
    names = forecast.names_or_headline(channel or (), surface=True)
    cases = [forecast.series(name, when, where) for name in names]
    figure = drawn(cases, where, forecast.system)
    _Target(out, dpi).save(chosen, figure, "meteogram", "_".join(names), when, where.slug)


@app.command()
def tracks(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The run whose cyclones are drawn.")],
    storm: Annotated[str, typer.Option(help="Name or identifier of IBTrACS.", show_default=False)],
    init: Annotated[datetime, typer.Option(help="Init time.", show_default=False)],
    overrides: SetOption = None,
    system: Annotated[str | None, typer.Option(help="Whose members; default: the run's forecast.")] = None,
    out: OutOption = None,
    dpi: DpiOption = None,
) -> None:
    """Draw the tracks of a cyclone in all members, their mean, the best track, and the probability of a strike.

    Needs what `fuxi-ens events cyclones` wrote.

    Example: `fuxi-ens plot tracks configs/era5_1p5deg.yaml --storm MANGKHUT --init 2018-09-12`
    """
    from fuxi_ens.paths import RunPaths
    from fuxi_ens.plot.chosen import require_picture
    from fuxi_ens.plot.figure import DPI, save_figure
    from fuxi_ens.plot.tracks import draw_tracks, file_name, open_storm
    from fuxi_ens.verify.cyclones.run import rules_of

    require_picture(out)
    settings = load_config(config, overrides or [])
    paths, when = RunPaths(settings.run.folder), np.datetime64(init, "ns")
    shown = open_storm(paths.cyclones, system or settings.verify.forecast_name, when, storm, rules_of(settings))
    log.info("%s", save_figure(draw_tracks(shown), out or paths.report / file_name(shown), dpi or DPI))
