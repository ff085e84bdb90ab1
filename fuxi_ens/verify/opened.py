"""All stores of a verification, opened and checked against each other."""

import logging

from fuxi_ens.config import Config, VerifyConfig
from fuxi_ens.errors import ConfigError, StoreError
from fuxi_ens.paths import RunPaths
from fuxi_ens.stores.climatology import open_climatology
from fuxi_ens.verify.climate import Climate, FieldCache
from fuxi_ens.verify.climatology import Climatology
from fuxi_ens.verify.families import configured
from fuxi_ens.verify.open import ForecastStore, open_analysis, open_forecast
from fuxi_ens.verify.planned import PlannedForecast, PlannedSystem
from fuxi_ens.verify.sample import Sample, common_sample
from fuxi_ens.verify.systems import EnsembleSystem, Persistence, Role, System

log = logging.getLogger(__name__)


def open_systems(config: Config, forecast_store: str) -> tuple[tuple[System, ...], Sample]:
    """Open all stores, check that they fit together, and choose the pairs to score.

    Where `forecast.keep_fields` is false the forecast is the planned one, whose statistics are there already. Raises
    ConfigError for equal names of systems and StoreError for what the stores lack.
    """
    if not config.forecast.keep_fields:
        return _with_references(config, PlannedForecast.of(config).whole(config))
    forecast = open_forecast(forecast_store).whole().perturbed().require(config.verify.channels)
    return _with_references(config, forecast)


def open_planned(config: Config) -> tuple[tuple[System, ...], Sample]:
    """Like `open_systems`, with the forecast that the config describes before anything of it is there."""
    return _with_references(config, PlannedForecast.of(config))


def _with_references(config: Config, forecast: ForecastStore | PlannedForecast) -> tuple[tuple[System, ...], Sample]:
    section = config.verify
    further = tuple(other.name for other in section.others)
    names = (section.forecast_name, section.baseline_name, *further, "climatology", "persistence")
    if len(set(names)) < len(names):
        raise ConfigError(
            f"systems need different names, got {names}; change verify.forecast_name, baseline_name or others"
        )
    truth_source = section.truth or config.data.store
    truth = open_analysis(truth_source).require(section.channels)
    baseline_truth = open_analysis(section.baseline_truth or truth_source).require(section.channels)
    baseline = open_forecast(section.baseline).perturbed().require(section.channels)
    others = open_others(section, truth_source)
    for store in (
        forecast,
        baseline,
        baseline_truth,
        *(part for other in others for part in (other.store, other.truth)),
    ):
        if store.grid != truth.grid:
            raise StoreError(
                f"{store.source} is on the grid {store.grid}, the truth {truth.source} on {truth.grid}; "
                "regrid one of them: scores of different grids cannot be compared"
            )
    references = (baseline, *(other.store for other in others))
    truths = (truth, baseline_truth, *(other.truth for other in others))
    sample = common_sample(config.forecast.init_times.times, forecast, references, truths)
    ours: System
    if isinstance(forecast, PlannedForecast):
        ours = PlannedSystem(section.forecast_name, forecast, truth)
    else:
        ours = EnsembleSystem(section.forecast_name, "forecast", forecast, truth)
    systems: tuple[System, ...] = (
        ours,
        EnsembleSystem(section.baseline_name, "baseline", baseline, baseline_truth),
        *others,
        Climatology.from_config(section.climatology, truth, sample.valid_times),
        Persistence(truth),
    )
    return systems, sample


def open_others(section: VerifyConfig, truth: str) -> tuple[EnsembleSystem, ...]:
    """The systems of `verify.others`; `truth` is where they name none. Raises StoreError for one without any name."""
    systems = []
    for other in section.others:
        store = open_forecast(other.store).perturbed()
        role: Role = "other" if store.members > 1 else "single"
        system = EnsembleSystem(other.name, role, store, open_analysis(other.truth or truth))
        held = system.held(section.channels)
        if not held:
            store.require(section.channels)
            system.truth.require(section.channels)
        absent = [name for name in section.channels if name not in held]
        if absent:
            log.info("%s has no %s", other.name, ", ".join(absent))
        systems.append(system)
    return tuple(systems)


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
