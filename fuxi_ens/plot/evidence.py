"""Collects what a report of one run shows: the score table, rank counts, and fields read from the stores."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.config import Config
from fuxi_ens.errors import UserError
from fuxi_ens.plot.caveats import card_notes, caveats, regridding
from fuxi_ens.plot.compose import Evidence
from fuxi_ens.plot.fields import Place, Stores, read_case, read_place
from fuxi_ens.plot.table import CRPS, Scores, Systems
from fuxi_ens.times import Times, hours
from fuxi_ens.verify.comparison import Comparison
from fuxi_ens.verify.open import open_analysis, open_forecast
from fuxi_ens.verify.results import Results
from fuxi_ens.verify.scorecard import curves, rank_counts

_RANK_DAYS = (1, 5, 10, 15)
_SHOWN_ATTRIBUTES = ("run_name", "config_hash", "seed", "fuxi_ens_version", "libraries", "store", "truth", "grid")


def collect_scores_only(table: pd.DataFrame, comparison: Comparison, statistics: Mapping[str, xr.Dataset]) -> Evidence:
    """A report without fields.

    `statistics` come from `verify.files.read_statistics`, `comparison` from `verify.comparison.compare` of them, and
    `table` is that comparison below the table of `verify.scorecard.scorecard`. Raises UserError when there is no
    forecast among the systems.
    """
    systems = _systems(statistics)
    ours = statistics[systems.forecast]
    leads = ours["lead_time"].to_numpy()
    scores = Scores(table, systems)
    return Evidence(
        scores=_counted(scores, comparison),
        title=str(ours.attrs["run_name"]),
        period=_period(ours["init_time"].to_numpy()),
        ranks=ours["rank_counts"].sel(region=scores.region) if "rank_counts" in ours else None,
        rank_lead_times=[hours(24 * day) for day in _RANK_DAYS if hours(24 * day) in leads],
        rank_counts=rank_counts(statistics),
        counts=comparison.counts(),
        curves=_ordered(curves(statistics), scores.names),
        level=next((won.level for won in comparison.wins.values() if won.tested), None),
        notes=card_notes(statistics, systems),
        caveats=caveats(statistics, systems, comparison),
        provenance={key: str(ours.attrs[key]) for key in _SHOWN_ATTRIBUTES if key in ours.attrs},
    )


def collect(results: Results, config: Config | None) -> Evidence:
    """Everything that `results` show; with a config also fields of its stores."""
    parts = results.table, results.comparison, results.statistics
    evidence = collect_evidence(config, *parts) if config else collect_scores_only(*parts)
    return replace(evidence, difference_maps=results.maps)


def _systems(statistics: Mapping[str, xr.Dataset]) -> Systems:
    """The first system of each role plays it; more of the same role, and those of none, are further systems."""
    roles: dict[str, str] = {}
    others: list[str] = []
    for system, data in statistics.items():
        role = str(data.attrs["role"])
        if role in roles or role in ("other", "single"):
            others.append(system)
        else:
            roles[role] = system
    if "forecast" not in roles:
        raise UserError(f"no forecast among the systems {sorted(statistics)}; give the folder that verify wrote")
    reference = (roles.get("baseline"), roles.get("climatology"), roles.get("persistence"))
    return Systems(roles["forecast"], *reference, others=tuple(others))


def _ordered(found: Mapping[str, xr.Dataset], names: tuple[str, ...]) -> dict[str, xr.Dataset]:
    """With names in the order of the card: alignment has sorted them."""
    return {
        system: data.sel(name=[name for name in names if name in data["name"].to_numpy()])
        for system, data in found.items()
    }


def _counted(scores: Scores, comparison: Comparison) -> Scores:
    """The scores with the counts of the region that is shown."""
    wins = {
        versus.reference: won
        for versus, won in comparison.wins.items()
        if (versus.system, versus.score, versus.region) == (scores.systems.forecast, CRPS, scores.region)
    }
    return replace(scores, wins=wins)


def collect_evidence(
    config: Config, table: pd.DataFrame, comparison: Comparison, statistics: Mapping[str, xr.Dataset]
) -> Evidence:
    """Everything for the report of `config`.

    Maps and plume, if the config asks for them and fields are kept, are of the last init time whose map has a truth.
    """
    evidence = collect_scores_only(table, comparison, statistics)
    report = config.report
    if report is None:
        return evidence
    ours = statistics[evidence.scores.systems.forecast]
    scored = ours["init_time"].to_numpy()
    asked = len(config.forecast.init_times.times)
    few = (f"Only {len(scored)} of the {asked} init times of the config were scored.",) if len(scored) < asked else ()
    evidence = replace(evidence, title=report.title, caveats=(*few, *report.caveats, *evidence.caveats))
    if not config.forecast.keep_fields:
        return evidence
    truth = open_analysis(config.verify.truth or config.data.store)
    stores = Stores(open_forecast(str(ours.attrs["store"])), truth, open_forecast(config.verify.baseline))
    map_lead = hours(report.map_lead_hours)
    few = (*few, *regridding(config))
    drawable = scored[np.isin(scored + map_lead, truth.valid_times)]
    if not drawable.size:
        return evidence
    init_time = drawable[-1]
    place = Place(**report.place.model_dump())
    leads = stores.forecast.lead_times
    return replace(
        evidence,
        maps=[read_case(stores, name, init_time, np.array([map_lead])) for name in report.map_channels],
        map_lead_time=map_lead,
        plumes=[read_place(stores, name, init_time, leads, place) for name in report.plume_channels],
        place=place,
    )


def _period(init_times: Times) -> str:
    first, last = (pd.Timestamp(t).strftime("%Y-%m-%d %H UTC") for t in (init_times[0], init_times[-1]))
    steps = np.unique(np.diff(init_times)) / np.timedelta64(1, "h")
    return f"{first} to {last}" + (f", every {steps[0]:g} h" if steps.size == 1 else "")
