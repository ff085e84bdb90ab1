"""From statistics of init times to one table of scores.

Averages are over the pairs (init_time, lead_time) that all systems with that lead time have; roots and ratios
come after the average (verification.md 15). A score of two systems is made of the same pairs by construction.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.files import write_atomic
from fuxi_ens.verify.families import FAMILIES, Family
from fuxi_ens.verify.files import write_statistics
from fuxi_ens.verify.pooling import estimator, pooled_sum
from fuxi_ens.verify.systems import Role

COLUMNS: Final = (
    "system",
    "name",
    "region",
    "lead_time",
    "score",
    "value",
    "estimator",
    "members",
    "truth",
    "n_init",
    "weights",
    "grid",
)
SKILL: Final = ("crpss_climatology", "crps_relative_to_baseline", "crpss_persistence")
"""Scores of two systems."""
_ESTIMATED: Final = ("crps", "brier", "energy_score", "variogram_score")
"""How names of scores begin that depend on the estimator."""


def scorecard(statistics: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """One row per system, name, region, lead_time and score, with the columns `COLUMNS`.

    Scores, in file units unless said otherwise: `crps` (the estimator of the configuration; "standard" for a
    single member), `rmse` and `bias` and `mae` of the ensemble mean, `spread`, `spread_skill_ratio` (with the
    factor for finite ensembles, 1 is ideal), `crpss_climatology` (1 is perfect) and
    `crps_relative_to_baseline` (%, negative is better) and `crpss_persistence`, and those of the other families in
    `verify.scores` (verification.md). `estimator` is empty where none applies, `members`
    the smallest number in any pair, `n_init` the number of init times. Scores of two systems exist where both
    have pairs and the same estimator. `statistics` come from `files.read_statistics`. Raises StoreError for
    systems of different grids, weights, estimators or masks.
    """
    for attribute in ("grid", "weights", "estimator"):
        found = {system: data.attrs[attribute] for system, data in statistics.items()}
        if len(set(found.values())) > 1:
            raise StoreError(f"systems differ in {attribute}: {found}; verify them with one configuration")
    systems = same_pairs(statistics)
    values = {system: _scores(data) for system, data in systems.items()}
    _add_skill(values, systems)
    rows = [
        _rows(values[system][score], systems[system], system, score) for system in systems for score in values[system]
    ]
    return pd.concat(rows, ignore_index=True)[list(COLUMNS)]


def curves(statistics: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Scores with further dimensions by system, without systems that have none.

    The pairs are those of `scorecard`; each curve is [name, lead_time, region, ...] with its own coordinates.
    """
    result = {}
    for system, data in same_pairs(statistics).items():
        own_leads = data["weight"].notnull().any(["init_time", "name", "region"])
        found: dict[str, xr.DataArray] = {}
        for family in _families_in(data):
            found.update(family.curves(data.sel(lead_time=own_leads)))
        if found:
            attributes = {key: str(value) for key, value in statistics[system].attrs.items()}
            result[system] = xr.Dataset(found).assign_attrs(attributes)
    return result


def rank_counts(statistics: Mapping[str, xr.Dataset]) -> dict[str, xr.DataArray]:
    """Rank counts [name, lead_time, region, rank] by system, on the pairs of `scorecard`; of systems that have them."""
    held = {system: data for system, data in same_pairs(statistics).items() if "rank_counts" in data}
    return {system: pooled_sum(data["rank_counts"], data["weight"]) for system, data in held.items()}


def write_curves(statistics: Mapping[str, xr.Dataset], folder: Path) -> list[Path]:
    """Write `curves` to `curves_<system>.nc`, and return the files; none without such scores."""
    paths = []
    for system, found in curves(statistics).items():
        paths.append(folder / f"curves_{system}.nc")
        write_statistics(paths[-1], found)
    return paths


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write the table with the lead time in hours, as `lead_time_hours`."""
    hours = table["lead_time"].dt.total_seconds() / 3600.0
    readable = table.assign(lead_time=hours).rename(columns={"lead_time": "lead_time_hours"})
    write_atomic(path, readable.to_csv(index=False).encode())


def same_pairs(statistics: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Align all systems and set what is not in the homogeneous sample to NaN (`weight` too).

    A system without any pair at a lead time does not take part there: a baseline with 12-hourly leads leaves
    the 6-hourly ones of the others alone. Raises StoreError for systems of different masks.
    """
    # Members and bins may differ between systems: only the pairs and cells are aligned.
    further = {dim for data in statistics.values() for dim in data.dims} - {"init_time", "name", "lead_time", "region"}
    aligned = dict(zip(statistics, xr.align(*statistics.values(), join="outer", exclude=further), strict=True))
    # Where systems differ in names, the alignment sorts them; the order is that of the system that has most.
    by_size = sorted(statistics.values(), key=lambda data: data.sizes["name"], reverse=True)
    names = list(dict.fromkeys(name for data in by_size for name in data["name"].to_numpy()))
    aligned = {system: data.sel(name=names) for system, data in aligned.items()}
    present = {system: data["weight"] > 0 for system, data in aligned.items()}
    absent = [~there.any("init_time") for there in present.values()]
    common = np.logical_and.reduce([there | gone for there, gone in zip(present.values(), absent, strict=True)])
    result = {system: _where(data, present[system] & common) for system, data in aligned.items()}
    weights = [data["weight"] for data in result.values()]
    weight = xr.concat(weights, "system", coords="minimal", compat="override")
    largest = weight.max("system")
    if (largest - weight.min("system") > 1e-9 * largest).any():
        raise StoreError(
            "systems are verified on different points, because their truths are missing at different places; "
            "use one truth for all (leave verify.baseline_truth empty)"
        )
    return {system: data.assign_attrs(statistics[system].attrs) for system, data in result.items()}


def _where(data: xr.Dataset, kept: xr.DataArray) -> xr.Dataset:
    """Set what is outside of the sample to NaN; sums without a region follow any of them."""
    return data.map(lambda sums: sums.where(kept if "region" in sums.dims else kept.any("region")))


def _scores(data: xr.Dataset) -> dict[str, xr.DataArray]:
    """Scores of one system, each [name, lead_time, region], of all families whose sums are there."""
    result: dict[str, xr.DataArray] = {}
    for family in _families_in(data):
        result.update(family.scores(data))
    return result


def _families_in(data: xr.Dataset) -> list[type[Family]]:
    return [family for family in FAMILIES.values() if set(family.sums) <= set(data.data_vars)]


def _add_skill(values: dict[str, dict[str, xr.DataArray]], systems: Mapping[str, xr.Dataset]) -> None:
    """Add the scores against climatology and baseline to systems of the same estimator."""
    for system, ratio in _crps_ratios("climatology", values, systems):
        values[system][SKILL[0]] = 1.0 - ratio
    for system, ratio in _crps_ratios("baseline", values, systems):
        values[system][SKILL[1]] = 100.0 * (ratio - 1.0)
    for system, ratio in _crps_ratios("persistence", values, systems):
        values[system][SKILL[2]] = 1.0 - ratio


def _crps_ratios(
    role: Role, values: Mapping[str, dict[str, xr.DataArray]], systems: Mapping[str, xr.Dataset]
) -> Iterator[tuple[str, xr.DataArray]]:
    """Mean CRPS of all others over that of the system in `role`. Raises UserError for several of them.

    Estimators must agree, but for persistence: the CRPS of one member is its absolute error in every estimator's place.
    """
    references = [system for system, data in systems.items() if data.attrs["role"] == role]
    if len(references) > 1:
        raise UserError(f"there is more than one {role}: {references}; leave out the folders of all but one")
    for reference in references:
        for system, data in systems.items():
            comparable = role == "persistence" or estimator(data) == estimator(systems[reference])
            if system != reference and comparable:
                yield system, values[system]["crps"] / values[reference]["crps"]


def _rows(value: xr.DataArray, data: xr.Dataset, system: str, score: str) -> pd.DataFrame:
    """Table rows of one score; a score of two systems has none where the other has no pairs."""
    named = data[["weight", "members"]].sel({dim: value[dim] for dim in ("name", "region") if dim in value.coords})
    columns = {
        "value": value,
        "n_init": named["weight"].notnull().sum("init_time"),
        "members": named["members"].min("init_time"),
    }
    frame = xr.Dataset(columns).to_dataframe(["name", "region", "lead_time"]).reset_index()
    frame = frame[frame["n_init"] > 0].astype({"members": "int64"})
    if score in SKILL:
        frame = frame[frame["value"].notna()]
    return frame.assign(
        system=system,
        score=score,
        estimator=estimator(data) if score.startswith(_ESTIMATED) else "",
        truth=data.attrs["truth"],
        weights=data.attrs["weights"],
        grid=data.attrs["grid"],
    )
