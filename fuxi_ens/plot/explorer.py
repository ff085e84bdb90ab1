"""The numbers that the page's script shows: all scores of the table, in display units, as compact JSON.

Numbers lie in lists by lead time, in lists by scored name: `values[score][region][system][name][lead]`. What the table
does not have is null. `tests[score][region][reference]` holds the differences of our forecast with their confidence.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd

from fuxi_ens.grid import Float
from fuxi_ens.plot.classes import BOUNDS, class_colors
from fuxi_ens.plot.score_words import score_units, score_words
from fuxi_ens.plot.style import long_name, short_name, system_label
from fuxi_ens.plot.table import CRPS, Scores
from fuxi_ens.times import Leads, hours
from fuxi_ens.verify.comparison import difference_score

MOST_NUMBERS: Final = 90_000
"""More than these, about 1.3 MB, would make the page slow: then lead times are thinned to whole days, or further."""
_DIGITS: Final = 6
"""So that percents of two numbers are right to a thousandth."""
Nested = dict[str, Any]


def explorer_json(scores: Scores, counts: pd.DataFrame | None = None, level: float | None = None) -> str:
    """What the page embeds; safe inside a script element.

    `counts` are those of `Comparison.counts`; confidence intervals cover 1 - `level`, None without tests.
    """
    text = json.dumps(explorer_data(scores, counts, level), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def explorer_data(scores: Scores, counts: pd.DataFrame | None = None, level: float | None = None) -> Nested:
    """The same as dictionaries and lists."""
    table = scores.table[scores.table["system"].isin(scores.present.values())]
    of_two = table["score"].isin({difference_score(score) for score in table["score"].unique()})
    single, differences = table[~of_two], table[of_two]
    leads = shown_leads(np.unique(single["lead_time"].to_numpy()), single)
    shown = [score for score in single["score"].unique() if not score.endswith("_relative_to_baseline")]
    grid = _Grid(scores.names, leads)
    return {
        "forecast": scores.systems.forecast,
        "region": scores.region,
        "score": CRPS,
        "systems": [_system(scores, system, single) for system in scores.present.values()],
        "references": list(scores.references),
        "regions": list(scores.regions),
        "names": [{"id": name, "short": short_name(name), "long": long_name(name)} for name in scores.names],
        "scores": [_score(score, scores.names) for score in shown],
        "leads": [float(lead / hours(1)) for lead in leads],
        "thinned": len(leads) < single["lead_time"].nunique(),
        "bounds": list(BOUNDS),
        "colors": _colors(),
        "level": level,
        "values": {score: _values(single[single["score"] == score], grid, score) for score in shown},
        "samples": _samples(single[single["score"] == CRPS], grid),
        "tests": {score: _tests(differences, grid, score, scores.systems.forecast) for score in shown},
        "counts": _counts(counts, scores.systems.forecast),
    }


def shown_leads(leads: Leads, table: pd.DataFrame) -> Leads:
    """All lead times, or so many whole days of them that the page stays light."""
    if len(table) <= MOST_NUMBERS:
        return leads
    daily = leads[leads % hours(24) == hours(0)]
    leads = daily if daily.size else leads
    held = table["lead_time"].isin(leads).sum()
    return leads[:: max(1, -(-int(held) // MOST_NUMBERS))]


class _Grid:
    """Rows of the table as [name][lead]."""

    def __init__(self, names: tuple[str, ...], leads: Leads) -> None:
        self.names = names
        self._names = pd.Index(names)
        self._leads = pd.Index(leads)

    def spread(self, rows: pd.DataFrame, column: str) -> Float:
        """One column, [name, lead]; NaN where there is no row."""
        result = np.full((len(self._names), len(self._leads)), np.nan)
        place = self._names.get_indexer(pd.Index(rows["name"])), self._leads.get_indexer(pd.Index(rows["lead_time"]))
        known = (place[0] >= 0) & (place[1] >= 0)
        values = rows[column].to_numpy(dtype=float, na_value=np.nan)
        result[place[0][known], place[1][known]] = values[known]
        return result

    def lists(self, values: Float, factors: Float) -> list[list[float | None]]:
        """In display units, with few digits, None for what is no number."""
        return [[_short(value) for value in row] for row in values * factors[:, None]]


def _short(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None


def _factors(score: str, names: tuple[str, ...]) -> Float:
    return np.array([score_units(score, name).factor for name in names])


def _by(rows: pd.DataFrame, columns: list[str], make: Callable[[pd.DataFrame], Any]) -> Nested:
    """Nested dictionaries by the values of `columns`."""
    if not columns:
        return make(rows)  # type: ignore[no-any-return]
    parts = rows.groupby(columns[0], sort=False)
    return {str(key): _by(part, columns[1:], make) for key, part in parts}


def _values(rows: pd.DataFrame, grid: _Grid, score: str) -> Nested:
    factors = _factors(score, grid.names)
    return _by(rows, ["region", "system"], lambda part: grid.lists(grid.spread(part, "value"), factors))


def _samples(rows: pd.DataFrame, grid: _Grid) -> Nested:
    """Number of init times by region and system."""
    one = np.ones(len(grid.names))
    return _by(rows, ["region", "system"], lambda part: grid.lists(grid.spread(part, "n_init"), one))


def _tests(differences: pd.DataFrame, grid: _Grid, score: str, forecast: str) -> Nested:
    if "reference" not in differences.columns:
        return {}
    rows = differences[(differences["score"] == difference_score(score)) & (differences["system"] == forecast)]
    factors, one = _factors(score, grid.names), np.ones(len(grid.names))
    scale = {"value": factors, "ci_low": factors, "ci_high": factors, "q": one, "significant": one}

    def make(part: pd.DataFrame) -> Nested:
        return {
            column: grid.lists(grid.spread(part, column), factor)
            for column, factor in scale.items()
            if column in part.columns
        }

    return _by(rows, ["region", "reference"], make)


def _system(scores: Scores, system: str, table: pd.DataFrame) -> Nested:
    rows = table[(table["system"] == system) & (table["score"] == CRPS)]
    style = scores.style(system)
    return {
        "id": system,
        "label": system_label(system),
        "color": style.color,
        "dash": "" if style.dashes == "solid" else " ".join(f"{3 * part:g}" for part in style.dashes[1]),
        "width": style.width,
        "members": int(rows["members"].max()) if len(rows) else None,
        "estimator": ", ".join(dict.fromkeys(rows["estimator"])),
        "truth": ", ".join(dict.fromkeys(rows["truth"])),
    }


def _score(score: str, names: tuple[str, ...]) -> Nested:
    words = score_words(score)
    return {
        "id": score,
        "label": words.label,
        "better": words.better,
        "units": [score_units(score, name).label for name in names],
    }


def _colors() -> list[str]:

    table = class_colors()
    return [mpl.colors.to_hex(table(index)) for index in range(len(BOUNDS) + 1)]


def _counts(counts: pd.DataFrame | None, forecast: str) -> Nested:
    """Counts of verification, [score][region][reference]."""
    if counts is None or not len(counts):
        return {}
    ours = counts[counts["system"] == forecast]
    columns = ["better", "worse", "tie", "undefined", "total", "significantly_better", "significantly_worse", "tested"]

    def make(part: pd.DataFrame) -> Mapping[str, Any]:
        row = part.iloc[0]
        numbers = {column: int(row[column]) for column in columns}
        return numbers | {column: _short(float(row[column])) for column in ("low", "high")}

    return _by(ours, ["score", "region", "reference"], make)
