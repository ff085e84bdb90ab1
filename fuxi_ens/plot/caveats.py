"""What a careful reader must know before quoting a number, as far as it follows from how the scores were made."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.config import Config
from fuxi_ens.plot.style import system_label
from fuxi_ens.plot.table import Systems
from fuxi_ens.times import Times, hours
from fuxi_ens.verify.comparison import Comparison

_LATE_HOURS = frozenset({0, 12})
"""UTC hours at which ERA5's analysis has seen observations of up to nine hours later."""


def caveats(statistics: Mapping[str, xr.Dataset], systems: Systems, comparison: Comparison) -> tuple[str, ...]:
    """One sentence or two for each point; `statistics` are those of `verify.files.read_statistics`."""
    return tuple(_points(statistics, systems, comparison))


def _points(statistics: Mapping[str, xr.Dataset], systems: Systems, comparison: Comparison) -> Iterator[str]:
    ours = statistics[systems.forecast]
    yield _sample(ours, comparison)
    yield _estimator(statistics, str(ours.attrs["estimator"]))
    yield _truth(statistics)
    yield from _look_ahead(ours, systems)
    yield from _zigzag(ours)
    if systems.climatology in statistics:
        years = climatology_years(statistics, systems) or "of verify.climatology in the config"
        yield (
            f"Climatology is made of the years {years}, without any verified time. In a warming climate older years "
            "are too cold, which makes them easier to beat."
        )
    seen = str(ours.attrs.get("day_climatology_caveat", "none"))
    if seen != "none":
        yield f"Anomalies and events: {seen}."
    yield "Systems are compared where both have lead times; the baseline may have fewer."


def climatology_years(statistics: Mapping[str, xr.Dataset], systems: Systems) -> str:
    """Years of the reference, empty where there is none or its files do not say."""
    reference = statistics.get(systems.climatology or "")
    return "" if reference is None else str(reference.attrs.get("climatology_years", "")).replace("-", "\N{EN DASH}")


def card_notes(statistics: Mapping[str, xr.Dataset], systems: Systems) -> str:
    """What the caption of a card needs beside estimator, members, truth and grid; empty where nothing is known."""
    years = climatology_years(statistics, systems)
    notes = [f"Climatology of {years}."] if years else []
    if any(_look_ahead(statistics[systems.forecast], systems)):
        notes.append(
            "A forecast from ERA5 has seen observations of up to 9 h after 00 and 12 UTC, an operational one 3 h."
        )
    return " ".join(notes)


def regridding(config: Config) -> Iterator[str]:
    """Whether our fields were brought to another grid before they were scored; of other stores nothing is known."""
    written, own = (f"{grid.height}x{grid.width}" for grid in (config.forecast_grid, config.model.grid))
    if written != own:
        yield (
            f"The forecast was regridded conservatively from {own} to {written} points, member by member, before it "
            "was scored. A coarser grid is smoother and has lower errors: compare with nothing of another grid."
        )


def _sample(ours: xr.Dataset, comparison: Comparison) -> str:
    count = ours.sizes["init_time"]
    tested = next((won for won in comparison.wins.values() if won.tested), None)
    if tested is None:
        return f"{count} init times: no difference could be tested for significance, so small ones mean nothing."
    return (
        f"{count} init times, {_period_words(ours['init_time'].to_numpy())}. A difference counts as significant if two "
        "tests that allow for its memory from one init time to the next agree, at a false discovery rate of "
        f"{100 * tested.level:g} % over all variables and lead times of a region; neighboring cells are not "
        "independent, so that the count of wins is less certain than it looks."
    )


def _period_words(init_times: Times) -> str:
    """Whether whole years are there: a score of one season says little about the others."""
    months = np.unique(pd.DatetimeIndex(init_times).month)
    years = np.unique(pd.DatetimeIndex(init_times).year)
    seasons = "all months" if len(months) == 12 else f"{len(months)} of 12 months"
    return f"{seasons}, {len(years)} year{'s' if len(years) > 1 else ''}"


def _estimator(statistics: Mapping[str, xr.Dataset], estimator: str) -> str:
    members = {system: int(data["members"].max()) for system, data in statistics.items()}
    several = ", ".join(f"{system_label(system)} {count}" for system, count in members.items() if count > 1)
    text = f"CRPS of ensembles is the {estimator} estimator (members: {several})."
    if estimator == "standard" and len({count for count in members.values() if count > 1}) > 1:
        text += " It favors the larger ensemble; the fair one does not."
    single = [system_label(system) for system, count in members.items() if count == 1]
    if single:
        text += f" Of a single member, {', '.join(single)}, it is the absolute error."
    return text


def _truth(statistics: Mapping[str, xr.Dataset]) -> str:
    truths: dict[str, list[str]] = {}
    for system, data in statistics.items():
        truths.setdefault(str(data.attrs["truth"]), []).append(system_label(system))
    if len(truths) == 1:
        return (
            f"All systems are verified against {next(iter(truths))}. A system that starts from the same analysis has "
            "an advantage in the first day or two over one that starts from another."
        )
    each = "; ".join(f"{', '.join(held)} against {truth}" for truth, held in truths.items())
    return f"The systems are verified against different truths: {each}. Their difference is not skill alone."


def _look_ahead(ours: xr.Dataset, systems: Systems) -> Iterator[str]:
    """Only for truths that may be ERA5: not those that ship with the package."""
    found = set(pd.DatetimeIndex(ours["init_time"].to_numpy()).hour) & _LATE_HOURS
    if systems.baseline is None or not found or str(ours.attrs["truth"]).startswith("asset:"):
        return
    at = " and ".join(f"{hour:02d}" for hour in sorted(found))
    yield (
        f"Init times at {at} UTC: a forecast that starts from ERA5 has seen observations of up to 9 hours after its "
        "init time, an operational ensemble of about 3."
    )


def _zigzag(ours: xr.Dataset) -> Iterator[str]:
    init_hours = set(pd.DatetimeIndex(ours["init_time"].to_numpy()).hour)
    if init_hours <= _LATE_HOURS and (ours["lead_time"].to_numpy() % hours(12) != hours(0)).any():
        yield (
            "Lead times of 6, 18, 30 h verify at other hours of the day than those of 12, 24, 36 h; analyses differ "
            "between these hours, and curves may zigzag."
        )
