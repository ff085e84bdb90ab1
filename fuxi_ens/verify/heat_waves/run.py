"""Heat waves of one configuration: thresholds, probabilities of all systems, their scores."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.channels import STATIC_LAND_SEA_MASK
from fuxi_ens.config import Config, HeatWaveConfig
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.files import write_atomic
from fuxi_ens.grid import Region, area_weights
from fuxi_ens.progress import progress
from fuxi_ens.times import Leads, Times, hours, label
from fuxi_ens.verify.files import is_complete, read_file, statistics_path, write_statistics
from fuxi_ens.verify.heat_waves.days import Array, daily_maximum, days_of, in_spell, reference_days, sampled
from fuxi_ens.verify.open import AnalysisStore, ForecastStore, open_analysis, open_forecast
from fuxi_ens.verify.scores import MEMBER, brier

log = logging.getLogger(__name__)

_DAY: Final = "lead_time"
"""Axis of days in files: the lead time at which the last value of the day is valid."""


@dataclass(frozen=True)
class Box:
    """The part of the grid that is looked at."""

    rows: slice
    columns: NDArray[np.intp]
    weights: Array
    """Area of each point as a share of the whole, 0 where it does not count, [latitude, longitude]."""

    def cut(self, values: Array) -> Array:
        """The box of global fields [..., latitude, longitude]."""
        return values[..., self.rows, :][..., self.columns]

    def mean(self, values: NDArray[Any]) -> Array:
        """Area-weighted mean over the box, [..., latitude, longitude] to [...]."""
        return np.asarray((values * self.weights).sum(axis=(-2, -1), dtype=np.float64))


def verify_heat_waves(
    config: Config, out: Path, forecast_store: str, provenance: Mapping[str, str | int | float]
) -> list[Path]:
    """Verify every event of `events.heat_waves`; returns the tables `<name>.csv` and `<name>_days.csv`.

    A member has a heat wave on a day if that day belongs to a run of `min_days` days, all within its own forecast,
    whose maximum exceeds the threshold; the probability is the share of such members. The truth is cut to the same
    days, so that runs that began before the forecast are no miss. Raises StoreError and UserError for what is not
    there.
    """
    if not config.events.heat_waves:
        raise UserError("the config verifies no heat waves; add one to events.heat_waves")
    section = config.verify
    truth = open_analysis(section.truth or config.data.store)
    stores = {
        section.forecast_name: ("forecast", open_forecast(forecast_store).perturbed()),
        section.baseline_name: ("baseline", open_forecast(section.baseline).perturbed()),
    }
    for _, store in stores.values():
        if store.grid != truth.grid:
            raise StoreError(
                f"{store.source} is on the grid {store.grid}, the truth on {truth.grid}; regrid one of them"
            )
    files = []
    for event in config.events.heat_waves:
        files += _verify_one(event, truth, stores, config.forecast.init_times.times, out, provenance)
    return files


def _verify_one(
    event: HeatWaveConfig,
    truth: AnalysisStore,
    stores: Mapping[str, tuple[str, ForecastStore]],
    init_times: Times,
    out: Path,
    provenance: Mapping[str, str | int | float],
) -> list[Path]:
    for store in (truth, *(store for _, store in stores.values())):
        store.require((event.channel,))
    cases = _cases(event, init_times, [store for _, store in stores.values()])
    if not cases:
        raise UserError(f"heat wave {event.name}: no init time has {event.min_days} whole days in the period")
    box = box_of(event, truth)
    folder = out / event.name
    identity = {"config_hash": str(provenance["config_hash"])}
    jobs = [(name, init_time, statistics_path(folder, name, init_time)) for name in stores for init_time in cases]
    todo = [job for job in jobs if not is_complete(job[2], identity)]
    threshold = thresholds(event, truth, box) if todo else None
    with progress(event.name, len(todo)) as advance:
        for name, init_time, path in todo:
            role, store = stores[name]
            assert threshold is not None, "made for every file that is to do"
            data = _event(event, truth, store, box, threshold, (init_time, cases[init_time]))
            about = {**provenance, **identity, "system": name, "role": role, "store": store.source}
            write_statistics(path, data.assign_attrs(about))
            advance(1, f"{name} {path.stem}")
    days = pd.concat([_rows(read_file(path)) for _, _, path in jobs], ignore_index=True)
    tables = {f"{event.name}_days.csv": days, f"{event.name}.csv": _averages(days)}
    for name, table in tables.items():
        write_atomic(out / name, table.to_csv(index=False, float_format="%.6g").encode())
    return [out / name for name in reversed(tables)]


def box_of(event: HeatWaveConfig, truth: AnalysisStore) -> Box:
    """Rows, columns and weights of the event's box. Raises UserError for a box without points."""
    latitude, longitude = (truth.dataset[dim].to_numpy() for dim in ("latitude", "longitude"))
    mask = Region(event.south, event.north, event.west, event.east).mask(latitude, longitude)
    if not mask.any():
        raise UserError(f"heat wave {event.name}: no grid point of {truth.source} lies in the box")
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    columns = columns[np.argsort((longitude[columns] - event.west) % 360.0)]
    weights = area_weights(latitude)[rows][:, None] * np.ones(len(columns))
    if event.land_only:
        if STATIC_LAND_SEA_MASK not in truth.dataset:
            raise StoreError(f"{truth.source} has no {STATIC_LAND_SEA_MASK}; add it or set land_only: false")
        land = truth.dataset[STATIC_LAND_SEA_MASK]
        land = land.isel({dim: 0 for dim in land.dims if dim not in ("latitude", "longitude")})
        weights = weights * (land.transpose("latitude", "longitude").to_numpy()[rows][:, columns] >= 0.5)
        if not weights.any():
            raise UserError(f"heat wave {event.name}: there is no land in the box; set land_only: false")
    return Box(slice(int(rows[0]), int(rows[-1]) + 1), columns, weights / weights.sum())


def thresholds(event: HeatWaveConfig, truth: AnalysisStore, box: Box) -> Array:
    """Quantile of the daily maxima of the reference years near each date, [day, latitude, longitude].

    Linear between order statistics (type 7). A year is in memory at a time, and the box of all years.
    """
    wanted = reference_days(event)
    every = np.unique(np.concatenate(wanted))
    if not every.size:
        raise UserError(f"heat wave {event.name}: reference holds no day near the period; widen it")
    maxima = []
    years = every.astype("datetime64[Y]")
    chunks = [every[years == year] for year in np.unique(years)]
    with progress(f"{event.name} thresholds", len(chunks)) as advance:
        for days in chunks:
            maxima.append(_analyzed(event, truth, box, days))
            advance(1, f"{days[0].astype('datetime64[Y]')}")
    maximum = np.concatenate(maxima)
    return np.stack([np.quantile(maximum[np.searchsorted(every, days)], event.quantile, axis=0) for days in wanted])


def _analyzed(event: HeatWaveConfig, truth: AnalysisStore, box: Box, days: Times) -> Array:
    times = sampled(days, event.first_hour).ravel()
    return daily_maximum(box.cut(truth.fields(event.channel, times).to_numpy()))


def _cases(event: HeatWaveConfig, init_times: Times, stores: list[ForecastStore]) -> dict[np.datetime64, Times]:
    """By init time that all stores have, the days of the period of which all of them have every value."""
    leads: Leads = stores[0].lead_times
    for store in stores:
        init_times = np.intersect1d(init_times, store.init_times)
        leads = np.intersect1d(leads, store.lead_times)
    days = days_of(event)
    times = sampled(days, event.first_hour)
    found = {init: days[np.isin(times - init, leads).all(axis=1)] for init in init_times}
    return {init: whole for init, whole in found.items() if len(whole) >= event.min_days}


def _brier(spells: NDArray[np.bool_], happened: NDArray[np.bool_], *, fair: bool) -> Array:
    """Brier score of the days in a spell, [day, latitude, longitude], from members [number, ...] and what happened."""
    maps = (_DAY, "latitude", "longitude")
    members = xr.DataArray(spells.astype(np.float64), dims=(MEMBER, *maps))
    score = brier(members, xr.DataArray(happened.astype(np.float64), dims=maps), 0.5, fair)
    return score.to_numpy()


def _event(
    event: HeatWaveConfig,
    truth: AnalysisStore,
    store: ForecastStore,
    box: Box,
    threshold: Array,
    case: tuple[np.datetime64, Times],
) -> xr.Dataset:
    """Probability and occurrence per day of one forecast, and scores over the box."""
    init_time, days = case
    leads = (sampled(days, event.first_hour) - init_time).ravel()
    limit = threshold[np.searchsorted(days_of(event), days)]
    observed = _analyzed(event, truth, box, days)
    fields = [box.cut(store.ensemble(event.channel, init_time, np.array([lead]))[0].to_numpy()) for lead in leads]
    members = daily_maximum(np.stack(fields, axis=1))
    for name, values in ((store.source, members), (truth.source, observed)):
        if np.isnan(box.mean(values)).any():
            raise StoreError(f"{name}: {event.channel} is missing in the box, {label(init_time)}; choose another box")
    happened = in_spell(observed > limit, event.min_days)
    spells = in_spell(members > limit, event.min_days)
    share = spells.mean(axis=0)
    standard = _brier(spells, happened, fair=False)
    fair = _brier(spells, happened, fair=True) if len(members) > 1 else np.full_like(standard, np.nan)
    maps = (_DAY, "latitude", "longitude")
    latitude = truth.dataset["latitude"].to_numpy()[box.rows]
    return xr.Dataset(
        {
            "probability": (maps, share),
            "happened": (maps, happened.astype(np.int8)),
            "brier": (_DAY, box.mean(standard)),
            "fair_brier": (_DAY, box.mean(fair)),
            "mean_probability": (_DAY, box.mean(share)),
            "observed_fraction": (_DAY, box.mean(happened)),
            "mean_maximum": (_DAY, box.mean(members.mean(axis=0))),
            "observed_maximum": (_DAY, box.mean(observed)),
            "mean_threshold": (_DAY, box.mean(limit)),
            "fraction_p10": (_DAY, np.quantile(box.mean(spells), 0.1, axis=0)),
            "fraction_p90": (_DAY, np.quantile(box.mean(spells), 0.9, axis=0)),
        },
        {
            "lead_time": leads.reshape(len(days), -1)[:, -1],
            "day": (_DAY, np.datetime_as_string(days, "D")),
            "latitude": latitude,
            "longitude": truth.dataset["longitude"].to_numpy()[box.columns],
            "init_time": init_time,
            "members": len(members),
        },
    )


def _rows(data: xr.Dataset) -> pd.DataFrame:
    columns = [name for name, values in data.data_vars.items() if values.dims == (_DAY,)]
    table = data[columns].to_dataframe().reset_index()
    table["lead_days"] = data[_DAY].to_numpy() / hours(24)
    table["day"] = table["day"].astype(str)
    about = {"system": data.attrs["system"], "role": data.attrs["role"], "init_time": data["init_time"].to_numpy()}
    return table.drop(columns=[_DAY, "init_time"]).assign(**about)


def _averages(days: pd.DataFrame) -> pd.DataFrame:
    """Means per system and lead time over init times, with the number of cases."""
    groups = days.groupby(["system", "role", "lead_days"], sort=True)
    means = groups.mean(numeric_only=True)
    means.insert(0, "cases", groups.size())
    return means.reset_index()
