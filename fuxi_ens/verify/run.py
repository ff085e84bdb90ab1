"""Verification of one configuration: all systems, all init times, in parallel, restartable."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from dask.delayed import delayed

from fuxi_ens.config import Config
from fuxi_ens.errors import ConfigError, StoreError
from fuxi_ens.paths import RunPaths
from fuxi_ens.progress import progress
from fuxi_ens.provenance import config_hash
from fuxi_ens.stores.climatology import open_climatology
from fuxi_ens.verify.climate import Climate, FieldCache
from fuxi_ens.verify.climatology import Climatology
from fuxi_ens.verify.families import configured
from fuxi_ens.verify.files import is_complete, statistics_path, write_statistics
from fuxi_ens.verify.leakage import refuse_seen
from fuxi_ens.verify.open import open_analysis, open_forecast
from fuxi_ens.verify.sample import Sample, common_sample
from fuxi_ens.verify.statistics import WEIGHTS, Scorer
from fuxi_ens.verify.systems import EnsembleSystem, Persistence, System

logger = logging.getLogger(__name__)


def verify(
    config: Config,
    out: Path,
    forecast_store: str,
    provenance: Mapping[str, str | int | float],
) -> list[Path]:
    """Score all systems of a configuration; write one statistics file per system and init_time.

    The systems are the forecast, called `verify.forecast_name`, the baseline, climatology and persistence. Files
    that exist and carry `provenance["config_hash"]` are kept. The work is spread over `config.run.threads`
    threads (0: all cores); each holds one block of fields at a time. Returns the files, system by system.
    Raises StoreError for stores that lack something or hold unwritten forecasts, before the first score where
    that can be known.
    """
    systems, sample = open_systems(config, forecast_store)
    families, climate = configured(config.verify), open_climate(config)
    seen = climate and refuse_seen(climate.store, sample.valid_times, config.verify.allow_seen_climatology)
    scorers = [Scorer(system, config.verify.channels, config.verify.regions, families, climate) for system in systems]
    jobs = [
        (scorer, init_time, statistics_path(out, scorer.system.name, init_time))
        for scorer in scorers
        for init_time in sample.init_times
        if scorer.system.offered(sample.leads_of(init_time)).size
    ]
    forecast_hash = _forecast_hash(config, forecast_store)

    def identity(system: System) -> dict[str, str]:
        # The references do not change when the forecast is made anew.
        of_forecast = forecast_hash if system.role == "forecast" else ""
        return {"config_hash": str(provenance["config_hash"]), "forecast_hash": of_forecast}

    todo = [job for job in jobs if not is_complete(job[2], identity(job[0].system))]
    logger.info("%d of %d statistics files to make", len(todo), len(jobs))

    def score(scorer: Scorer, init_time: np.datetime64, path: Path) -> None:
        statistics = scorer.statistics(init_time, sample.leads_of(init_time))
        attributes = {
            **provenance,
            **describe(scorer.system),
            **identity(scorer.system),
            "estimator": config.verify.estimator,
            **({"day_climatology": climate.store.source, "day_climatology_caveat": seen or "none"} if climate else {}),
        }
        write_statistics(path, statistics.assign_attrs(attributes))
        advance(1, f"{scorer.system.name} {path.stem}")

    with progress("verify", len(todo)) as advance:
        tasks = [delayed(score, traverse=False)(*job) for job in todo]
        delayed(list)(tasks).compute(scheduler="threads", num_workers=config.run.threads or None)
    return [path for _, _, path in jobs]


def open_climate(config: Config) -> Climate | None:
    """The climatology by day of the year, if a family of `verify.scores` needs one. Raises StoreError without it."""
    needing = [family.name for family in configured(config.verify) if family.needs_climatology]
    if not needing:
        return None
    made = RunPaths(config.run.folder).climatology
    if not config.verify.day_climatology and not made.exists():
        raise StoreError(
            f"the scores {needing} need a climatology by day of the year, and there is none at {made}; run `fuxi-ens "
            "data climatology CONFIG`, name one in verify.day_climatology, or take them out of verify.scores"
        )
    store = open_climatology(config.verify.day_climatology or str(made))
    return Climate(store, FieldCache(config.verify.cache_megabytes * 10**6 // 2))


def _forecast_hash(config: Config, forecast_store: str) -> str:
    """What tells forecasts apart: the hashes of settings and weights that our forecasts carry.

    Raises StoreError when a forecast of ours was made with other settings than the config has. Stores of other origin
    carry no hashes and are told apart by nothing.
    """
    attributes = open_forecast(forecast_store).dataset.attrs
    if "config_hash" not in attributes:
        return "none"
    expected = config_hash(config, config.forecast)
    if attributes["config_hash"] != expected:
        raise StoreError(
            f"{forecast_store} was made with forecast settings {attributes['config_hash']}, the config has {expected}; "
            "run `fuxi-ens forecast` with this config in another run.folder, or verify with the config it was made with"
        )
    return f"{expected}-{attributes.get('weights_hash', '')[:12]}"


def describe(system: System) -> dict[str, str]:
    """Attributes that say what was compared with what."""
    return {
        "system": system.name,
        "role": system.role,
        "store": system.source,
        "truth": system.truth.source,
        "grid": system.truth.grid,
        "weights": WEIGHTS,
    }


def open_systems(config: Config, forecast_store: str) -> tuple[tuple[System, ...], Sample]:
    """Open all stores, check that they fit together, and choose the pairs to score.

    Raises ConfigError for equal names of systems and StoreError for what the stores lack.
    """
    section = config.verify
    names = (section.forecast_name, section.baseline_name, "climatology", "persistence")
    if len(set(names)) < len(names):
        raise ConfigError(f"systems need different names, got {names}; change verify.forecast_name or baseline_name")
    truth_source = section.truth or config.data.store
    truth = open_analysis(truth_source).require(section.channels)
    baseline_truth = open_analysis(section.baseline_truth or truth_source).require(section.channels)
    forecast = open_forecast(forecast_store).whole().require(section.channels)
    baseline = open_forecast(section.baseline).require(section.channels)
    for store in (forecast, baseline, baseline_truth):
        if store.grid != truth.grid:
            raise StoreError(
                f"{store.source} is on the grid {store.grid}, the truth {truth.source} on {truth.grid}; "
                "regrid one of them: scores of different grids cannot be compared"
            )
    sample = common_sample(config.forecast.init_times.times, forecast, baseline, (truth, baseline_truth))
    systems: tuple[System, ...] = (
        EnsembleSystem(section.forecast_name, "forecast", forecast, truth),
        EnsembleSystem(section.baseline_name, "baseline", baseline, baseline_truth),
        Climatology.from_config(section.climatology, truth, sample.valid_times),
        Persistence(truth),
    )
    return systems, sample
