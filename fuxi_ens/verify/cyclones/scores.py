"""Errors of tracks: every case, and averages over the cases that all systems have.

A case is a storm at an init time and a lead time at which it was observed. Members that lost the cyclone are left out
of errors and spread, and count as no strike. A case is averaged if every system follows at least a given share of its
members; how many it follows is published beside.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.config import CycloneConfig
from fuxi_ens.times import hours
from fuxi_ens.verify.cyclones.sphere import along_across_km, distance_km, mean_position
from fuxi_ens.verify.cyclones.strikes import StrikeMap, window

CASE: Final = ["init_time", "storm", "lead_hours"]
ANALYSIS: Final = "analysis"
"""Role of the tracked truth, which decides nothing about the sample."""


def cases_of(tracks: xr.Dataset) -> pd.DataFrame:
    """One row per storm and lead time of one init_time at which the storm was observed. Distances in km.

    followed: share of members; member_error: mean over members of their errors; mean_error: error of the mean position
    in three dimensions; variance: of the members about it, M - 1 in the denominator (km2); along, across: parts of
    mean_error by the observed motion, signed.
    """
    latitude, longitude = (tracks[axis].transpose("number", "storm", "lead_time").to_numpy() for axis in _AXES)
    truth = tuple(tracks[f"observed_{axis}"].transpose("storm", "lead_time").to_numpy() for axis in _AXES)
    before = tuple(
        np.concatenate([tracks[f"start_{axis}"].to_numpy()[:, None], part[:, :-1]], axis=1)
        for axis, part in zip(_AXES, truth, strict=True)
    )
    mean = mean_position(latitude, longitude)
    alive = np.isfinite(latitude).sum(axis=0)
    apart = distance_km((latitude, longitude), mean)
    along, across = along_across_km(mean, (truth[0], truth[1]), (before[0], before[1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "followed": alive / len(latitude),
            "alive": alive,
            "member_error": np.nansum(distance_km((latitude, longitude), (truth[0], truth[1])), axis=0) / alive,
            "mean_error": distance_km(mean, (truth[0], truth[1])),
            "variance": np.where(alive > 1, np.nansum(apart**2, axis=0) / (alive - 1.0), np.nan),
            "along": along,
            "across": across,
        }
    index = pd.MultiIndex.from_product(
        [tracks["storm"].to_numpy().astype(str), tracks["lead_time"].to_numpy() / hours(1)], names=CASE[1:]
    )
    table = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index).reset_index()
    table.insert(0, "init_time", tracks["init_time"].to_numpy())
    table["members"] = len(latitude)
    observed: pd.DataFrame = table.loc[np.isfinite(truth[0]).ravel()]
    return observed


_AXES: Final = ("latitude", "longitude")


def all_cases(tracks: Mapping[str, list[xr.Dataset]]) -> pd.DataFrame:
    """Cases of all systems, with the system's name and role in each row."""
    parts = [
        cases_of(part).assign(system=system, role=part.attrs["role"])
        for system, all_ in tracks.items()
        for part in all_
    ]
    return pd.concat(parts, ignore_index=True)


def homogeneous(cases: pd.DataFrame, rules: CycloneConfig) -> pd.DataFrame:
    """The cases that every system but the analysis follows with enough members; all systems' rows of these."""
    judged = cases[cases["role"] != ANALYSIS]
    share = judged.pivot_table(index=CASE, columns="system", values="followed")
    common = share.index[(share >= rules.min_share).all(axis=1)]
    sample: pd.DataFrame = cases[pd.MultiIndex.from_frame(cases[CASE]).isin(common) & (cases["alive"] > 0)]
    return sample


def table_of(cases: pd.DataFrame, rules: CycloneConfig) -> pd.DataFrame:
    """One row per system and lead time, averaged over the homogeneous sample; followed over all cases.

    spread_error_ratio is the root of mean variance * (M + 1) / M over the mean squared error of the mean position: 1
    for members that cannot be told from the truth.
    """
    sample = homogeneous(cases, rules)
    rows = []
    for (system, role, lead), part in sample.groupby(["system", "role", "lead_hours"]):
        everything = cases[(cases["system"] == system) & (cases["lead_hours"] == lead)]
        squared = float((part["mean_error"] ** 2).mean())
        exchangeable = float((part["variance"] * (part["alive"] + 1) / part["alive"]).mean(skipna=False))
        rows.append(
            {
                "system": system,
                "role": role,
                "lead_hours": lead,
                "cases": len(part),
                "storms": part["storm"].nunique(),
                "members": int(part["members"].iloc[0]),
                "followed": everything["followed"].mean(),
                "member_error_km": part["member_error"].mean(),
                "mean_error_km": part["mean_error"].mean(),
                "mean_error_rms_km": np.sqrt(squared),
                "spread_km": np.sqrt(part["variance"].mean(skipna=False)),
                "spread_error_ratio": np.sqrt(exchangeable / squared) if squared > 0 else np.nan,
                "along_km": part["along"].mean(),
                "across_km": part["across"].mean(),
            }
        )
    return pd.DataFrame(rows)


def strike_table(tracks: Mapping[str, list[xr.Dataset]], places: StrikeMap, rules: CycloneConfig) -> pd.DataFrame:
    """One row per system: Brier scores of strike probability, averaged over storms and init times that all have."""
    found: dict[tuple[str, str], dict[tuple[object, str], tuple[float, float]]] = {}
    sizes: dict[str, int] = {}
    for system, parts in tracks.items():
        for part in parts:
            cases = found.setdefault((system, part.attrs["role"]), {})
            sizes[system] = part.sizes["number"]
            for at, storm in enumerate(part["storm"].to_numpy().astype(str)):
                members, observed = window(part, at, rules.strike_hours)
                struck = places.probability(*observed) > 0
                score = places.brier_km2(places.probability(*members), struck, sizes[system])
                cases[part["init_time"].item(), storm] = score
    common = set.intersection(*(set(cases) for cases in found.values()))
    rows = []
    for (system, role), cases in found.items():
        standard, fair = np.mean([cases[key] for key in sorted(common, key=str)], axis=0)
        about = {"system": system, "role": role, "cases": len(common), "members": sizes[system]}
        window_of = {"strike_km": rules.strike_km, "strike_hours": rules.strike_hours}
        rows.append({**about, **window_of, "brier_km2": standard, "fair_brier_km2": fair})
    return pd.DataFrame(rows)
