"""What the report says in numbers and words: headline cards, the table of scores, the fine print."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from fuxi_ens.plot import table
from fuxi_ens.plot.style import display_units, in_days, in_sentence, long_name, signed, system_label
from fuxi_ens.plot.table import Scores
from fuxi_ens.times import hours
from fuxi_ens.verify.wins import Wins

Tone = Literal["good", "bad", "neutral"]

TABLE_DAYS: Final = (1, 3, 5, 10, 15)


@dataclass(frozen=True, slots=True)
class Card:
    """One headline number."""

    value: str
    label: str
    detail: str
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class NumberRow:
    """One line of the score table; `best` marks the lowest score per column."""

    name: str
    units: str
    system: str
    values: tuple[str, ...]
    best: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class NumberTable:
    """Scores at a few lead times."""

    days: tuple[int, ...]
    rows: tuple[NumberRow, ...]


def wins(difference: pd.DataFrame) -> tuple[int, int]:
    """How many cells are strictly better, of how many with a number. A tie is no win."""
    values = difference.to_numpy(dtype=float)
    return int((values < 0.0).sum()), int(np.isfinite(values).sum())


def headline_cards(scores: Scores) -> tuple[Card, ...]:
    """Wins against every reference, then how long the forecast is useful and how reliable it is."""
    cards = [_win_card(scores, reference) for reference in scores.references]
    return (*cards, *_useful_card(scores), *_reliability_card(scores))


def won_against(scores: Scores, reference: str) -> tuple[int, int]:
    """How many cells are better, of how many: those that verification counted, else those of the table."""
    counted = scores.wins.get(reference)
    return (counted.better, counted.total) if counted else wins(scores.difference(reference))


def headline(scores: Scores) -> str:
    """The count of wins against the first reference in one sentence, with what the tests say; empty without one."""
    if not scores.references:
        return ""
    reference = scores.references[0]
    better, count = won_against(scores, reference)
    text = f"Better than {system_label(reference)} in {better} of {count} combinations of variable and lead time"
    won = scores.wins.get(reference)
    return f"{text}: {_significance(won)}." if won else f"{text}."


def _win_card(scores: Scores, reference: str) -> Card:
    values = scores.difference(reference).to_numpy(dtype=float)
    better, count = won_against(scores, reference)
    median = float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
    tone: Tone = "good" if 2 * better > count else "bad"
    detail = f"variable x lead time; median CRPS {signed(median, 1)} %"
    if reference in scores.wins:
        detail += f"; {_significance(scores.wins[reference])}"
    return Card(f"{better} / {count}", f"better than {system_label(reference)}", detail, tone)


def _significance(won: Wins) -> str:
    """Short enough for a card; the log and counts.csv say more."""
    if not won.tested:
        return "significance could not be tested"
    return (
        f"{won.significantly_better} significantly better, {won.significantly_worse} significantly worse; "
        f"{won.low:.0f}\N{EN DASH}{won.high:.0f} % better with resampled init times"
    )


def useful_days(scores: Scores, name: str) -> float:
    """Days until CRPS is for the first time no better than climatology; 0 when it never is."""
    skill = scores.curve(scores.systems.forecast, name, table.CRPSS)
    useful = np.cumprod(skill.to_numpy() > 0.0).astype(bool)
    return float(in_days(skill.index.to_numpy()[useful])[-1]) if useful.any() else 0.0


def _useful_card(scores: Scores) -> tuple[Card, ...]:
    named = {name: useful_days(scores, name) for name in scores.names}
    if scores.systems.climatology not in scores.references or not named:
        return ()
    last = float(in_days(np.array([scores.last_lead]))[0])
    name = min(named, key=lambda key: named[key])
    shortest = named[name]
    if shortest >= last:
        detail = "every quantity beats climatology at every lead time"
        return (Card(f"{last:g} days", "useful range", detail, "good"),)
    detail = f"{in_sentence(name)} loses to climatology first; the forecast runs {last:g} days"
    return (Card(f"{shortest:g} days", "useful range, weakest quantity", detail, "neutral"),)


def _reliability_card(scores: Scores) -> tuple[Card, ...]:
    curves = [scores.curve(scores.systems.forecast, name, table.SPREAD_SKILL_RATIO) for name in scores.names]
    ratios = np.concatenate([curve.to_numpy(dtype=float) for curve in curves])
    if not ratios.size:
        return ()
    median = float(np.median(ratios))
    tone: Tone = "good" if 0.9 <= median <= 1.1 else "bad"
    verdict = "too sure of itself" if median < 1.0 else "too cautious"
    if tone == "good":
        verdict = "spread matches error"
    detail = f"median over quantities and lead times, ideal is 1: {verdict}"
    return (Card(f"{median:.2f}", "spread-skill ratio", detail, tone),)


def number_table(scores: Scores, days: Sequence[int] = TABLE_DAYS) -> NumberTable:
    """CRPS in display units at a few whole days, every system, lowest per quantity and day marked."""
    shown = tuple(day for day in days if hours(24 * day) <= scores.last_lead)
    rows = [row for name in scores.names for row in _number_rows(scores, name, shown)]
    return NumberTable(shown, tuple(rows))


def _number_rows(scores: Scores, name: str, days: tuple[int, ...]) -> list[NumberRow]:
    units = display_units(name)
    systems = list(scores.present.values())
    leads = [pd.Timedelta(days=day) for day in days]
    curves = [scores.curve(system, name, table.CRPS).reindex(leads) * units.factor for system in systems]
    values = np.array([curve.to_numpy(dtype=float) for curve in curves]).reshape(len(systems), len(days))
    lowest = np.nanmin(np.where(np.isnan(values), np.inf, values), axis=0)
    return [
        NumberRow(
            long_name(name) if index == 0 else "",
            units.label if index == 0 else "",
            system_label(system),
            tuple(three_digits(value) for value in row),
            tuple(bool(best) for best in row == lowest),
        )
        for index, (system, row) in enumerate(zip(systems, values, strict=True))
    ]


def three_digits(value: float) -> str:
    """A number with three significant digits, trailing zeros kept so that columns line up; a dash for NaN."""
    return "\N{EN DASH}" if np.isnan(value) else f"{value:#.3g}".removesuffix(".")


def fine_print(scores: Scores, period: str, *, one_region: bool = True, notes: str = "") -> str:
    """What the numbers rest on: init times, period, estimator, members, truth, grid, and the region if it is one."""
    rows = scores.here[scores.here["score"] == table.CRPS]
    members = ", ".join(
        f"{system_label(system)} {_span(rows.loc[rows['system'] == system, 'members'])}"
        for system in scores.present.values()
    )
    region = f" Region: {scores.region}." if one_region else ""
    return (
        f"{_span(rows['n_init'])} init times, {period}. CRPS estimator: {_by_system(rows, 'estimator')}. "
        f"Members: {members}. Truth: {_by_system(rows, 'truth')}. Grid: {_by_system(rows, 'grid')}.{region} {notes}"
    ).rstrip()


def _by_system(rows: pd.DataFrame, column: str) -> str:
    """The one value of all systems, or each value with the systems that have it."""
    systems = rows.groupby(column, sort=False)["system"].unique()
    if len(systems) == 1:
        return str(systems.index[0])
    return "; ".join(f"{value} for {', '.join(map(system_label, held))}" for value, held in systems.items())


def _span(numbers: pd.Series) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low}" if low == high else f"{low}\N{EN DASH}{high}"
