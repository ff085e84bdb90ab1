"""Climatology by day of the year and hour: mean, standard deviation, quantiles, in WeatherBench 2's layout.

Definitions in verification.md 5.1. Every analysis is decoded once per kind of statistic, whatever the memory: a unit of
work (a variable, at large grids one hour of the day) is first gathered by day of the year into scratch files, then the
window runs over bands of latitudes. Results are the same bits for any number of workers and after any interruption.
"""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from distributed import Client

from fuxi_ens.cluster import dask_client, run_tasks, worker_count
from fuxi_ens.config import Config, Period
from fuxi_ens.data.climatology.bands import bands, write_band
from fuxi_ens.data.climatology.gather import gather, runs_of_days
from fuxi_ens.data.climatology.plan import Place, Plan, Unit, times_of
from fuxi_ens.data.climatology.store import Workshop, require_same
from fuxi_ens.data.era5 import open_configured
from fuxi_ens.data.reading import Reading
from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.progress import Advance, progress
from fuxi_ens.provenance import provenance

log = logging.getLogger(__name__)

Task = TypeVar("Task")


def make_climatology(config: Config) -> Path:
    """Make the climatology of the run, or finish one that was begun; one that is there is kept. Returns its path.

    Raises UserError for periods that the validation or test period shares, StoreError for a store that lacks times.
    """
    periods = averaged_periods(config)
    paths = RunPaths(config.run.folder)
    plan = _plan(config, periods)
    if paths.climatology.exists():
        require_same(paths.climatology, plan)
        log.info("%s is there already", paths.climatology)
        # Left behind by a run that was killed after its last step.
        shutil.rmtree(paths.climatology_work, ignore_errors=True)
        return paths.climatology
    workshop = Workshop(paths.climatology_work, plan, _attributes(config, periods))
    _log_sizes(plan)
    todo = [unit for unit in plan.units if not workshop.is_done(unit)]
    if todo:
        _run(config, plan, workshop, todo)
    workshop.deliver(paths.climatology)
    return paths.climatology


def averaged_periods(config: Config) -> tuple[Period, ...]:
    """Periods of the climatology. Raises UserError if they share dates with validation or test."""
    periods = config.climatology.periods or config.data.train
    for name, others in (("data.validation", config.data.validation), ("data.test", config.data.test)):
        for ours in periods:
            for other in others:
                if ours.start <= other.end and other.start <= ours.end:
                    raise UserError(
                        f"climatology.periods {ours.start}..{ours.end} overlap {name} {other.start}..{other.end}: "
                        "scores against it would be measured on dates it has seen; move one of them"
                    )
    return periods


def _plan(config: Config, periods: tuple[Period, ...]) -> Plan:
    analysis = open_configured(config, config.climatology_channels)
    analysis.require_complete(periods, config.data.step_size)
    return Plan.of(config, times_of(periods, analysis.times))


def _run(config: Config, plan: Plan, workshop: Workshop, todo: list[Unit]) -> None:
    in_flight = 2 * worker_count(config.dask, config.run.threads)
    # A unit is read once and written once, and both count its fields.
    total = 2 * sum(unit.fields * len(unit.hours) for unit in plan.units)
    with progress("climatology", total) as advance, dask_client(config.dask, config.run.threads) as client:
        advance(total - 2 * sum(unit.fields * len(unit.hours) for unit in todo), "")
        for unit in todo:
            place = Place(
                plan, unit, Reading.of(config, unit.channels), str(workshop.scratch(unit)), str(workshop.store)
            )
            _unit(client, place, in_flight, advance)
            workshop.finish(unit)


def _unit(client: Client, place: Place, in_flight: int, advance: Advance) -> None:
    fields = place.unit.fields * len(place.unit.hours)
    started = time.monotonic()
    days = [task for task in runs_of_days(place) if not task.path.exists()]
    read = sum(_results(client, gather, days, in_flight))
    rate = read / 1e6 / (time.monotonic() - started)
    advance(fields, f"{place.unit.key} read at {rate:.0f} MB/s")
    _results(client, write_band, bands(place), in_flight)
    advance(fields, f"{place.unit.key} written")


def _results(client: Client, function: Callable[[Task], int], tasks: Sequence[Task], in_flight: int) -> list[int]:
    return [result for _, result in run_tasks(client, function, tasks, in_flight=in_flight)]


def _attributes(config: Config, periods: tuple[Period, ...]) -> dict[str, str | int]:
    return {
        **provenance(config, config.data, config.climatology),
        "Conventions": "CF-1.11",
        "product": "climatology",
        "periods": ", ".join(f"{p.start.isoformat()}..{p.end.isoformat()}" for p in periods),
        "window_days": config.climatology.window_days,
        "window": "triangular, weight 0 at both ends; day 366 of other years is their day 365",
    }


def _log_sizes(plan: Plan) -> None:
    times, field = 366 * len(plan.hours), 4 * plan.height * plan.width
    fields = 2 * (len(plan.moments) + len(plan.categories)) + len(plan.quantiles) * len(plan.probabilities)
    scratch = max(plan.scratch_bytes(unit) for unit in plan.units)
    log.info(
        "climatology of %d fields: %.1f GiB before compression, scratch files up to %.1f GiB at a time",
        fields,
        fields * times * field / 2**30,
        scratch / 2**30,
    )
