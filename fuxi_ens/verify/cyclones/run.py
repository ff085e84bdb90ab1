"""Cyclones of one configuration: tracks of all systems, restartable, and their scores."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from dask.delayed import delayed

from fuxi_ens.config import Config, CycloneConfig
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.files import write_atomic
from fuxi_ens.progress import progress
from fuxi_ens.times import Times
from fuxi_ens.verify.cyclones.best_tracks import BestTrack, only, read_best_tracks
from fuxi_ens.verify.cyclones.differences import storm_differences
from fuxi_ens.verify.cyclones.scores import ANALYSIS, all_cases, strike_table, table_of
from fuxi_ens.verify.cyclones.strikes import StrikeMap
from fuxi_ens.verify.cyclones.tracker import Surface, channels_for
from fuxi_ens.verify.cyclones.tracks import Analysis, Ensemble, Followed, follow, surface_of
from fuxi_ens.verify.files import is_complete, read_file, statistics_path, write_statistics
from fuxi_ens.verify.open import open_analysis, open_forecast

log = logging.getLogger(__name__)


def rules_of(config: Config) -> CycloneConfig:
    """Settings of cyclones. Raises UserError if the config has none."""
    if config.events.cyclones is None:
        raise UserError("the config verifies no cyclones; add the section events: {cyclones: {}}")
    return config.events.cyclones


def verify_cyclones(
    config: Config, out: Path, forecast_store: str, provenance: Mapping[str, str | int | float]
) -> list[Path]:
    """Follow the cyclones of best tracks in forecast, baseline and truth; write tracks and tables into `out`.

    `tracks/<system>/<init_time>.nc` per system and init time with a storm; those that exist and carry the same hash are
    kept. `cyclone_cases.csv` has every case, `cyclones.csv` the averages, `cyclone_differences.csv` forecast and
    baseline compared, `cyclone_strikes.csv` the strikes. Raises StoreError and UserError, before the first track where
    that can be known.
    """
    rules = rules_of(config)
    systems, surface = _systems(config, rules, forecast_store)
    storms = _storms(rules, config.forecast.init_times.times, systems)
    identity = {"config_hash": str(provenance["config_hash"])}
    jobs = [
        (name, role, system, init_time, statistics_path(out / "tracks", name, init_time))
        for name, (role, system) in systems.items()
        for init_time in storms
    ]
    todo = [job for job in jobs if not is_complete(job[-1], identity)]
    log.info("%d of %d track files to make", len(todo), len(jobs))

    def make(name: str, role: str, system: Followed, init_time: np.datetime64, path: Path) -> None:
        tracks = follow(system, init_time, storms[init_time], surface, rules)
        about = {**provenance, **identity, "system": name, "role": role, "store": system.source}
        write_statistics(path, tracks.assign_attrs(about))
        advance(1, f"{name} {path.stem}")

    with progress("cyclones", len(todo)) as advance:
        tasks = [delayed(make, traverse=False)(*job) for job in todo]
        delayed(list)(tasks).compute(scheduler="threads", num_workers=config.run.threads or None)
    tracks = {name: [read_file(job[-1]) for job in jobs if job[0] == name] for name in systems}
    return _tables(tracks, surface, config, out)


def _tables(tracks: Mapping[str, list[xr.Dataset]], surface: Surface, config: Config, out: Path) -> list[Path]:
    rules = rules_of(config)
    cases = all_cases(tracks)
    places = StrikeMap(surface.latitude, surface.longitude, rules.strike_km)
    tables = {
        "cyclones.csv": table_of(cases, rules),
        "cyclone_differences.csv": storm_differences(cases, rules, config.verify.significance),
        "cyclone_strikes.csv": strike_table(tracks, places, rules),
        "cyclone_cases.csv": cases,
    }
    for name, table in tables.items():
        write_atomic(out / name, table.to_csv(index=False, float_format="%.6g").encode())
    return [out / name for name in tables]


def _systems(
    config: Config, rules: CycloneConfig, forecast_store: str
) -> tuple[dict[str, tuple[str, Followed]], Surface]:
    section, channels = config.verify, channels_for(rules)
    truth = open_analysis(section.truth or config.data.store).require(channels)
    forecast, baseline = (
        Ensemble(open_forecast(s).perturbed().require(channels)) for s in (forecast_store, section.baseline)
    )
    for store in (forecast.store, baseline.store):
        if store.grid != truth.grid:
            raise StoreError(
                f"{store.source} is on the grid {store.grid}, the truth {truth.source} on {truth.grid}; regrid one of "
                "them: tracks depend on the grid"
            )
    longest = max(forecast.leads, baseline.leads, key=len)
    systems: dict[str, tuple[str, Followed]] = {
        section.forecast_name: ("forecast", forecast),
        section.baseline_name: ("baseline", baseline),
        ANALYSIS: (ANALYSIS, Analysis(truth, longest)),
    }
    return systems, surface_of(truth)


def _storms(
    rules: CycloneConfig, init_times: Times, systems: Mapping[str, tuple[str, Followed]]
) -> dict[np.datetime64, list[BestTrack]]:
    """Storms that are reported at each init time that all forecasts have. Raises UserError if there are none."""
    stores = [system.store for _, system in systems.values() if isinstance(system, Ensemble)]
    for store in stores:
        init_times = np.intersect1d(init_times, store.init_times)
    if not init_times.size:
        raise StoreError(f"{' and '.join(store.source for store in stores)} share no init time of the config")
    tracks = only(read_best_tracks(rules.best_tracks, init_times[0], init_times[-1]), rules.storms)
    found = {time: [track for track in tracks if time in track.times] for time in init_times}
    found = {time: storms for time, storms in found.items() if storms}
    if not found:
        raise UserError(f"no storm is reported at any of the {len(init_times)} init times; nothing to verify")
    return found
