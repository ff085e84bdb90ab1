"""What the page's diagrams show: rank histograms, reliability, ROC, value and spectra, as compact JSON.

`ranks[system][region][name][lead]` are multiples of the uniform frequency. `events[event][system][region][name][lead]`
has `p`, `o`, `w`, `c` (forecast probability, observed frequency, share, half the consistency bar), `f`, `h` (false
alarms, hits) and `v` (value at `costs`). `spectra[system][name][lead]` has `members`, `mean` and `truth` by `degree`.
What verification does not have is null.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from fuxi_ens.grid import Float
from fuxi_ens.plot.diagrams import Curves
from fuxi_ens.plot.event_diagrams import EVENTS
from fuxi_ens.plot.style import long_name, system_label
from fuxi_ens.plot.table import Scores
from fuxi_ens.times import Leads, hours

SHOWN_DAYS: Final = (1, 3, 5, 7, 10, 15)
MOST_NUMBERS: Final = 200_000
"""More than these, about 1.3 MB, would make the page heavy: then every second lead time is left out, and so on."""
_ROC_POINTS: Final = 26
_DEGREES: Final = 60
_DIGITS: Final = 4
Ranks = Mapping[str, xr.DataArray]
"""Rank counts by system, [name, lead_time, region, rank]."""
Nested = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Diagrams:
    """All that can be shown; empty parts are left out of the page."""

    ranks: Ranks
    curves: Curves

    def leads(self) -> Leads:
        """Lead times of `SHOWN_DAYS` that some part has."""
        parts = [*self.ranks.values(), *(data for data in self.curves.values() if "lead_time" in data)]
        found = [part["lead_time"].to_numpy() for part in parts]
        held = np.unique(np.concatenate([np.array([], "timedelta64[ns]"), *found]))
        return held[np.isin(held, [hours(24 * day) for day in SHOWN_DAYS])]


def diagram_json(shown: Diagrams, scores: Scores) -> str:
    """What the page embeds, safe inside a script element; empty when there is nothing to show."""
    leads = shown.leads()
    made = _data(shown, scores, leads)
    while _count(made) > MOST_NUMBERS and len(leads) > 1:
        # The last one stays.
        leads = leads[::-2][::-1]
        made = _data(shown, scores, leads)
    if not (made["ranks"] or made["events"] or made["spectra"]):
        return ""
    text = json.dumps(made, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(shown: Diagrams, scores: Scores, leads: Leads) -> Nested:
    held = [system for system in scores.present.values() if system in {*shown.ranks, *shown.curves}]
    curves = {system: shown.curves[system] for system in held if system in shown.curves}
    costs = next((data["cost_loss"].to_numpy() for data in curves.values() if "cost_loss" in data), np.array([]))
    return {
        "region": scores.region,
        "regions": list(scores.regions),
        "names": [{"id": name, "label": long_name(name)} for name in scores.names],
        "leads": [float(lead / hours(1)) for lead in leads],
        "systems": [{"id": one, "label": system_label(one), "color": scores.style(one).color} for one in held],
        "kinds": [{"id": event, "label": event.replace("_", " ")} for _, event in _events(curves)],
        "costs": _numbers(costs[::2]),
        "ranks": {
            system: _by(counts, ("region", "name"), leads, _rank)
            for system, counts in shown.ranks.items()
            if system in held
        },
        "events": {
            event: {
                system: _by(_of_event(data, kind, event), ("region", "name"), leads, _event)
                for system, data in curves.items()
                if kind in data and event in data[kind]
            }
            for kind, event in _events(curves)
        },
        "spectra": {
            system: _by(data[["power_members", "power_mean", "power_truth"]], ("name",), leads, _spectrum)
            for system, data in curves.items()
            if "power_truth" in data
        },
    }


def _events(curves: Curves) -> list[tuple[str, str]]:
    """Kind and label of every event of any system."""
    found = (
        (kind, str(event)) for data in curves.values() for kind in EVENTS if kind in data for event in data[kind].values
    )
    return list(dict.fromkeys(found))


def _of_event(data: xr.Dataset, kind: str, event: str) -> xr.Dataset:
    """The curves of one event, without its kind in their names."""
    stem = f"{kind}_"
    mine = [str(name) for name in data if str(name).startswith(stem)]
    return data[mine].sel({kind: event}).rename({name: name.removeprefix(stem) for name in mine})


def _by(data: Any, dims: Sequence[str], leads: Leads, make: Any) -> Nested:
    """Nested dictionaries by the labels of `dims`, in the end a list by lead time."""
    if dims:
        labels = data[dims[0]].values
        return {str(label): _by(data.sel({dims[0]: label}), dims[1:], leads, make) for label in labels}
    there = data["lead_time"].values
    return [make(data.sel(lead_time=lead)) if lead in there else None for lead in leads]  # type: ignore[return-value]


def _rank(counts: xr.DataArray) -> list[float | None] | None:
    total = float(counts.sum())
    return _numbers(counts.to_numpy() / total * counts.sizes["rank"]) if total > 0 else None


def _event(curves: xr.Dataset) -> Nested | None:
    if curves["reliability_observed_frequency"].isnull().all():
        return None
    thresholds = curves.sizes["threshold"]
    # Both ends of the curve, and points between them.
    kept = np.unique(np.linspace(0, thresholds - 1, min(_ROC_POINTS, thresholds)).round().astype(int))
    return {
        "p": _numbers(curves["reliability_forecast_probability"].to_numpy()),
        "o": _numbers(curves["reliability_observed_frequency"].to_numpy()),
        "w": _numbers(curves["reliability_weight"].to_numpy()),
        "c": _numbers(curves["reliability_consistency"].to_numpy()),
        "f": _numbers(curves["roc_false_alarm_rate"].to_numpy()[kept]),
        "h": _numbers(curves["roc_hit_rate"].to_numpy()[kept]),
        "v": _numbers(curves["relative_value"].to_numpy()[::2]),
    }


def _spectrum(power: xr.Dataset) -> Nested | None:
    if power["power_truth"].isnull().any():
        return None
    # The mean of a map, degree 0, has no place on a logarithmic axis.
    degrees = power["degree"].to_numpy()
    last = len(degrees) - 1
    kept = np.unique(np.geomspace(1, last, min(_DEGREES, last)).round().astype(int))
    parts = {part: power[f"power_{part}"].to_numpy()[kept] for part in ("members", "mean", "truth")}
    return {"degree": degrees[kept].tolist()} | {part: _numbers(values) for part, values in parts.items()}


def _numbers(values: Float) -> list[float | None]:
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in values]


def _count(made: Any) -> int:
    """Numbers in nested dictionaries and lists."""
    if isinstance(made, Mapping):
        return sum(map(_count, made.values()))
    return sum(map(_count, made)) if isinstance(made, list) else int(isinstance(made, float | int))
