"""Which figures make a report, in which order, with which words. Callers give evidence, not layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.plot import curves, text
from fuxi_ens.plot.diagram_data import Diagrams, diagram_json
from fuxi_ens.plot.diagrams import has_spectra, spectra
from fuxi_ens.plot.difference_maps import difference_maps
from fuxi_ens.plot.event_diagrams import event_kinds, reliability_diagrams, roc_diagrams, value_diagrams
from fuxi_ens.plot.explorer import explorer_json
from fuxi_ens.plot.fields import Case, Place
from fuxi_ens.plot.maps import forecast_maps
from fuxi_ens.plot.plume import plume, plume_caption
from fuxi_ens.plot.rank import rank_histograms
from fuxi_ens.plot.report import Picture, Report, Section
from fuxi_ens.plot.scorecard import scorecard
from fuxi_ens.plot.style import in_sentence, lead_label, long_name, system_label
from fuxi_ens.plot.summary import fine_print, headline, headline_cards, number_table, won_against
from fuxi_ens.plot.table import Scores

_EVENT_DIAGRAMS: Final = (
    (
        "reliability",
        "Reliability",
        text.RELIABILITY,
        reliability_diagrams,
        "Reliability diagrams of events: observed frequency against forecast probability",
    ),
    ("roc", "Hits and false alarms", text.ROC, roc_diagrams, "ROC of events: hit rate against false-alarm rate"),
    ("value", "Value for users", text.VALUE, value_diagrams, "Relative economic value against the cost-loss ratio"),
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All a report can show; what is empty is left out of the page."""

    scores: Scores
    title: str
    period: str
    """Of the init times, in words: `1998-01-01 to 1998-03-31, every 12 h`."""
    maps: Sequence[Case] = ()
    """One case per scored name to draw, holding `map_lead_time`."""
    map_lead_time: np.timedelta64 | None = None
    plumes: Sequence[Case] = ()
    """One case per panel, all from one init time."""
    place: Place | None = None
    ranks: xr.DataArray | None = None
    """Rank counts of our forecast, [name, lead_time, rank], with or without `init_time`."""
    rank_lead_times: Sequence[np.timedelta64] = ()
    rank_counts: Mapping[str, xr.DataArray] = field(default_factory=dict)
    """Rank counts by system on shared pairs, [name, lead_time, region, rank]."""
    curves: Mapping[str, xr.Dataset] = field(default_factory=dict)
    """Scores with further dimensions by system, of `verify.scorecard.curves`."""
    difference_maps: Mapping[tuple[str, str], xr.Dataset] = field(default_factory=dict)
    """Of `verify.difference_maps`, by our system and the reference."""
    counts: pd.DataFrame | None = None
    """Wins, losses, ties and their significance, of `verify.comparison.Comparison.counts`."""
    level: float | None = None
    """Confidence intervals of the table cover 1 - level; None without tests."""
    notes: str = ""
    """For captions of cards, of `caveats.card_notes`."""
    caveats: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


def compose_report(evidence: Evidence) -> Report:
    """Draw every figure the evidence allows and put the page together."""
    scores = evidence.scores
    sections = [_scorecard_section(evidence), *_difference_section(evidence), *_curve_sections(scores)]
    sections += _difference_map_sections(evidence)
    if evidence.maps and evidence.map_lead_time is not None:
        sections.append(_map_section(evidence.maps, evidence.map_lead_time))
    if evidence.plumes and evidence.place:
        sections.append(_plume_section(evidence, evidence.place))
    if evidence.ranks is not None and evidence.rank_lead_times:
        sections.append(_rank_section(evidence.ranks, evidence.rank_lead_times))
    if evidence.curves and evidence.rank_lead_times:
        sections += _diagram_sections(evidence)
    sections.append(Section("numbers", "Numbers", text.NUMBERS, numbers=number_table(scores)))
    return Report(
        title=evidence.title,
        lede=_lede(scores),
        headline=headline(scores),
        cards=headline_cards(scores),
        numbers_json=explorer_json(scores, evidence.counts, evidence.level),
        diagrams_json=diagram_json(Diagrams(evidence.rank_counts, evidence.curves), scores),
        sections=sections,
        caveats=evidence.caveats,
        provenance=evidence.provenance,
    )


def _lede(scores: Scores) -> str:
    ours = system_label(scores.systems.forecast)
    against = ", ".join(system_label(reference) for reference in scores.references) or "nothing else"
    names = ", ".join(in_sentence(name) for name in scores.names)
    return f"{ours} compared with {against}. Scored: {names}. Region: {scores.region}."


def _scorecard_section(evidence: Evidence) -> Section:
    scores = evidence.scores
    note = fine_print(scores, evidence.period, notes=evidence.notes)
    if not scores.references:
        return Section("scorecard", "Scorecard", f"There is no reference to compare with. {note}")
    won = {system_label(reference): won_against(scores, reference) for reference in scores.references}
    said = "; ".join(f"better than {name} in {better} of {count}" for name, (better, count) in won.items())
    alt = f"Heat map of percent differences in CRPS by variable and lead time: {said}."
    return Section("scorecard", "Scorecard", text.SCORECARD, [Picture(scorecard(scores), alt, note)])


def _difference_section(evidence: Evidence) -> list[Section]:
    """Differences from the first reference with their confidence, if any of them could be tested."""
    scores = evidence.scores
    reference = next(iter(scores.references), "")
    tests = scores.tests(reference)
    if tests is None or evidence.level is None or not tests["ci_low"].notna().any():
        return []
    name = system_label(reference)
    alt = f"Difference in CRPS from {name} against lead time with confidence intervals, one panel per variable."
    picture = Picture(curves.difference_curves(scores, reference), alt)
    words = text.DIFFERENCE.format(reference=name, percent=f"{100 * (1 - evidence.level):g}")
    return [Section("differences", f"Difference from {name}", words, [picture])]


def _curve_sections(scores: Scores) -> list[Section]:
    panels = "Panels: " + ", ".join(long_name(name) for name in scores.names) + "."
    crps = Picture(curves.crps_curves(scores), f"CRPS against lead time for every system. {panels}")
    sections = [Section("crps", "CRPS by lead time", text.CRPS, [crps])]
    if scores.systems.climatology in scores.references:
        skill = Picture(curves.crpss_curves(scores), f"CRPS skill score against climatology. {panels}")
        sections.append(Section("skill", "Skill over climatology", text.SKILL, [skill]))
    both = Picture(curves.skill_spread_curves(scores), f"RMSE of the ensemble mean, and spread. {panels}")
    ratio = Picture(curves.spread_skill_ratio_curves(scores), f"Spread-skill ratio. {panels}")
    return [*sections, Section("spread", "Error and spread", text.SPREAD, [both, ratio])]


def _difference_map_sections(evidence: Evidence) -> list[Section]:
    """One section per reference of our forecast with maps."""
    return [
        _difference_map_section(maps, reference, evidence)
        for (system, reference), maps in evidence.difference_maps.items()
        if system == evidence.scores.systems.forecast
    ]


def _difference_map_section(maps: xr.Dataset, reference: str, evidence: Evidence) -> Section:
    other = system_label(reference)
    pictures = [
        Picture(
            difference_maps(maps, name),
            f"World maps of the difference in CRPS of {in_sentence(name)} from {other}, dotted where significant.",
            file_format="png",
        )
        for name in map(str, maps["name"].to_numpy())
    ]
    counts = sorted({int(count) for count in maps["init_times"].to_numpy().ravel()})
    words = text.DIFFERENCE_MAPS.format(
        reference=other,
        percent=f"{100 * float(maps.attrs['level']):g}",
        count="\N{EN DASH}".join(str(count) for count in dict.fromkeys((counts[0], counts[-1]))),
    )
    return Section(f"where-{reference}".replace("_", "-"), f"Where it differs from {other}", words, pictures)


def _map_section(cases: Sequence[Case], lead_time: np.timedelta64) -> Section:
    day = lead_label(lead_time)
    what = "ensemble mean, truth, spread, mean minus truth"
    pictures = [
        Picture(
            forecast_maps(case, lead_time),
            f"World maps of {in_sentence(case.name)} at {day}: {what}.",
            # Filled contours are large as vectors and no sharper to the eye.
            file_format="png",
        )
        for case in cases
    ]
    return Section("maps", f"One forecast, {day}", text.MAPS, pictures)


def _plume_section(evidence: Evidence, place: Place) -> Section:
    baseline_name = evidence.scores.systems.baseline or "baseline"
    picture = Picture(
        plume(evidence.plumes, place, baseline_name),
        f"Members, quantile bands, ensemble mean and truth against valid time at {place}.",
        plume_caption(evidence.plumes[0], place),
    )
    return Section("plume", f"Plume for {place.name}", text.PLUME, [picture])


def _rank_section(ranks: xr.DataArray, lead_times: Sequence[np.timedelta64]) -> Section:
    days = ", ".join(lead_label(lead) for lead in lead_times)
    picture = Picture(rank_histograms(ranks, lead_times), f"Rank histograms at {days} with the uniform frequency.")
    return Section("ranks", "Rank histograms", text.RANKS, [picture])


def _diagram_sections(evidence: Evidence) -> list[Section]:
    """Reliability and spectra in the middle of the ranked lead times, if the statistics have their families."""
    held = evidence.scores.present.values()
    lead_time = evidence.rank_lead_times[len(evidence.rank_lead_times) // 2]
    shown = {
        system: data
        for system, data in evidence.curves.items()
        if system in held and lead_time in data["lead_time"].to_numpy()
    }
    styles = {system: evidence.scores.style(system) for system in shown}
    day, region = lead_label(lead_time), evidence.scores.region
    sections = []
    kinds = event_kinds(shown, region, lead_time)
    for anchor, title, words, draw, alt in _EVENT_DIAGRAMS if kinds else ():
        pictures = [Picture(draw(shown, styles, kind, region, lead_time), f"{alt} at {day}.") for kind in kinds]
        sections.append(Section(anchor, f"{title}, {day}", words, pictures))
    spectral = {system: data for system, data in shown.items() if "power_truth" in data}
    if has_spectra(spectral, lead_time):
        picture = Picture(spectra(spectral, styles, lead_time), f"Power by spherical-harmonic degree at {day}.")
        sections.append(Section("spectra", f"Spectra, {day}", text.SPECTRA, [picture]))
    return sections
