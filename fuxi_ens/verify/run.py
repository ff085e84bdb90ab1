"""Verification of one configuration: all systems, all init times, on Dask, restartable."""

import logging
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuxi_ens.cluster import dask_client, run_tasks, worker_count
from fuxi_ens.config import Config
from fuxi_ens.errors import StoreError
from fuxi_ens.progress import progress
from fuxi_ens.provenance import DRAWS, config_hash
from fuxi_ens.times import label
from fuxi_ens.verify import work
from fuxi_ens.verify.climatology import Climatology
from fuxi_ens.verify.files import is_complete, statistics_path, write_statistics
from fuxi_ens.verify.leakage import refuse_seen
from fuxi_ens.verify.memory import memory_needed
from fuxi_ens.verify.open import open_forecast
from fuxi_ens.verify.planned import PlannedSystem
from fuxi_ens.verify.sample import Sample
from fuxi_ens.verify.statistics import WEIGHTS, Case, Scorer
from fuxi_ens.verify.systems import EnsembleSystem, System

logger = logging.getLogger(__name__)

Provenance = Mapping[str, str | int | float]


def verify(config: Config, out: Path, forecast_store: str, provenance: Provenance) -> list[Path]:
    """Score all systems of a configuration; write one statistics file per system and init_time.

    The systems are the forecast, called `verify.forecast_name`, the baseline, the others of the config, climatology and
    persistence. Files that exist and carry `provenance["config_hash"]` are kept. The work is spread over the workers of
    `config.dask`, by default `config.run.threads` threads (0: all cores); each holds one field of an ensemble at a
    time. Returns the files, system by system. Raises StoreError for stores that lack something or hold unwritten
    forecasts, before the first score where that can be known.
    """
    scorers, sample = work.open_scorers(config, forecast_store)
    _warn_of_ties(config, [scorer.system for scorer in scorers])
    about = [attributes_of(config, scorer, sample) for scorer in scorers]
    files = [
        work.File(system, init_time, leads, statistics_path(out, scorer.system.name, init_time))
        for system, scorer in enumerate(scorers)
        for init_time in sample.init_times
        if (leads := scorer.offered(init_time, sample.leads_of(init_time))).size
    ]
    identities = [_identity(scorer.system, config, forecast_store, provenance) for scorer in scorers]
    todo = [file for file in files if not is_complete(file.path, identities[file.system])]
    logger.info("%d of %d statistics files to make", len(todo), len(files))
    if todo:
        tasks = worker_count(config.dask, config.run.threads)
        logger.info("memory: %s", memory_needed(config, [scorer.system for scorer in scorers], tasks))
        task = work.Task(config, forecast_store, secrets.token_hex(8))
        attributes = [{**provenance, **said, **same} for said, same in zip(about, identities, strict=True)]
        _score(task, scorers, todo, attributes)
    return [file.path for file in files]


def _score(
    task: work.Task, scorers: Sequence[Scorer], files: Sequence[work.File], attributes: Sequence[Provenance]
) -> None:
    """Do the work of all files; write each as soon as its cases are there."""
    items, missing = work.plan(task, scorers, files)
    waiting = defaultdict(list)
    for file, needed in zip(files, missing, strict=True):
        for number in needed:
            waiting[number].append((file, needed))
    known: dict[work.CaseKey, Case] = {}
    config = task.config
    in_flight = 2 * worker_count(config.dask, config.run.threads)
    try:
        with (
            progress("verify", sum(len(item.lead_times) for item in items)) as advance,
            dask_client(config.dask, config.run.threads) as client,
        ):
            for item, cases in run_tasks(client, work.score_item, items, in_flight=in_flight):
                system = scorers[item.system].system
                for lead_time, case in zip(item.lead_times, cases, strict=True):
                    known[work.key_of(system.role, item.system, item.name, item.init_time, lead_time)] = case
                for file, needed in waiting.pop(item.number):
                    needed.remove(item.number)
                    if not needed:
                        _write(scorers[file.system], file, known, attributes[file.system])
                advance(len(cases), f"{system.name} {label(item.init_time)}")
    finally:
        work.leave()


def _write(scorer: Scorer, file: work.File, known: dict[work.CaseKey, Case], attributes: Provenance) -> None:
    # Cases of a climatology stay: other init times have the same valid times.
    take = known.__getitem__ if scorer.system.role == "climatology" else known.pop
    cases = {
        name: {lead_time: take(key) for lead_time, key in file.keys(scorer, name).items()} for name in scorer.names
    }
    statistics = scorer.joined(cases, file.init_time, file.lead_times)
    write_statistics(file.path, statistics.assign_attrs(attributes))


def attributes_of(config: Config, scorer: Scorer, sample: Sample) -> dict[str, str]:
    """What a statistics file says about itself beside provenance and identity."""
    climate = scorer.climate
    about = {**describe(scorer.system), "estimator": config.verify.estimator}
    if climate is None:
        return about
    seen = refuse_seen(climate.store, sample.valid_times, config.verify.allow_seen_climatology)
    return {**about, "day_climatology": climate.store.source, "day_climatology_caveat": seen or "none"}


def identity_of(system: System, provenance: Provenance, forecast: Mapping[Any, Any]) -> dict[str, str]:
    """What tells files of other settings or another forecast apart; `forecast` are the attributes of the forecast.

    References do not change with the forecast; stores of other origin carry no hashes and are told apart by nothing,
    further ones by their addresses, which the hash of the settings leaves out.
    """
    of_forecast = ""
    if system.role == "forecast":
        made = forecast.get("config_hash")
        of_forecast = f"{made}-{forecast.get('weights_hash', '')[:12]}" if made else "none"
    identity = {"config_hash": str(provenance["config_hash"]), "forecast_hash": of_forecast}
    if system.role in ("other", "single"):
        identity |= {"store": system.source, "truth": system.truth.source}
    return identity


def _draws(system: System) -> str:
    """How the members share their noise; empty where nobody says, and for references."""
    if isinstance(system, PlannedSystem):
        return system.forecast.draws
    return system.store.draws if isinstance(system, EnsembleSystem) else ""


def _warn_of_ties(config: Config, systems: Sequence[System]) -> None:
    """Fair scores estimate those of many independent members; tied ones spread more evenly, and score too well."""
    if config.verify.estimator == "standard":
        return
    for system in systems:
        if _draws(system) not in ("", "random"):
            logger.warning(
                "%s has %s members, which are not independent: its %s CRPS is too low (docs/verification.md); "
                "compare with verify.estimator: standard",
                system.name,
                _draws(system),
                config.verify.estimator,
            )


def _identity(system: System, config: Config, forecast_store: str, provenance: Provenance) -> dict[str, str]:
    """Raises StoreError when a forecast of ours was made with other settings than the config has."""
    if not config.forecast.keep_fields and system.role == "forecast":
        # Weights are not at hand; what was scored online says itself which they were.
        return {"config_hash": str(provenance["config_hash"])}
    attributes = open_forecast(forecast_store).dataset.attrs if system.role == "forecast" else {}
    expected = config_hash(config, config.forecast)
    if attributes.get("config_hash", expected) != expected:
        raise StoreError(
            f"{forecast_store} was made with forecast settings {attributes['config_hash']}, the config has {expected}; "
            "run `fuxi-ens forecast` with this config in another run.folder, or verify with the config it was made with"
        )
    return identity_of(system, provenance, attributes)


def _years(climatology: Climatology) -> str:
    """`1990-2017`; years that are not in a row are listed."""
    years = [int(year) for year in climatology.available.year.unique().sort_values()]
    if len(years) > 2 and years[-1] - years[0] == len(years) - 1:
        return f"{years[0]}-{years[-1]}"
    return ", ".join(map(str, years))


def describe(system: System) -> dict[str, str]:
    """Attributes that say what was compared with what."""
    years = {"climatology_years": _years(system)} if isinstance(system, Climatology) else {}
    return {
        **years,
        "system": system.name,
        "role": system.role,
        "store": system.source,
        "truth": system.truth.source,
        "grid": system.truth.grid,
        "weights": WEIGHTS,
        DRAWS: _draws(system),
    }
