"""Checks before anything is spent: stores, dates, disk, memory. Nothing is computed, nothing is written."""

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Final

import numpy as np

from fuxi_ens.cluster import worker_count
from fuxi_ens.config import Config
from fuxi_ens.data.era5 import open_configured
from fuxi_ens.data.preparation.plan import make_plan
from fuxi_ens.data.samples import SampleIndex
from fuxi_ens.data.static import static_fields
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.files import existing_parent, require_writable
from fuxi_ens.forecast.estimate import ForecastEstimate, estimate, readable
from fuxi_ens.forecast.initial import open_initial_conditions, resolved
from fuxi_ens.launch import this_process
from fuxi_ens.model.cost import Rates, training_hours
from fuxi_ens.model.memory import Placement, run_memory
from fuxi_ens.model.summary import summarize
from fuxi_ens.paths import RunPaths
from fuxi_ens.times import HISTORY, label
from fuxi_ens.verify import open as verification
from fuxi_ens.verify.memory import memory_expected
from fuxi_ens.verify.opened import open_others


@dataclass(frozen=True, slots=True)
class Finding:
    """One passed check."""

    check: str
    detail: str


STAGES: Final = ("train", "forecast", "verify")
"""Parts of a run that can be checked alone."""


def preflight(config: Config, stages: Collection[str] = STAGES) -> Iterator[Finding]:
    """Yield what was found for the `stages`, in the order in which a run would meet it.

    Raises UserError at the first thing that is wrong.
    """
    yield _run_folder(config)
    if "train" in stages:
        yield from _analysis(config)
        yield _statistics(config)
        yield _training_memory(config)
        yield _training_cost(config)
    if "forecast" in stages:
        yield from _forecast(config)
    # What starts from the newest analysis has no truth yet.
    if "verify" in stages and not config.forecast.init_times.latest:
        yield from _verification(config)


def _run_folder(config: Config) -> Finding:
    require_writable(config.run.folder)
    return Finding("run folder", str(config.run.folder.absolute()))


def _analysis(config: Config) -> Iterator[Finding]:
    data = config.data
    if config.prepare and not Path(data.store).exists():
        plan = make_plan(config)
        span = f"{len(plan.times)} times from {label(plan.times[0])} to {label(plan.times[-1])}"
        yield Finding("training store", f"not there yet; `fuxi-ens data prepare` makes it from {plan.source}: {span}")
        return
    analysis = open_configured(config)
    span = f"{label(analysis.times[0])} to {label(analysis.times[-1])}"
    yield Finding("analysis", f"{data.store}: {len(config.model.channels)} channels, {span}")
    analysis.require_plausible(analysis.times[0])
    yield Finding("physics", f"units and orientation are plausible at {label(analysis.times[0])}")
    for name, periods in (("train", data.train), ("validation", data.validation)):
        analysis.require_complete(periods, data.step_size)
        longest = max(stage.rollout_steps for stage in config.train.stages)
        legal = SampleIndex.legal(analysis.times, periods, data.step_size, longest)
        yield Finding(f"{name} dates", f"{len(legal)} init times with {longest} target steps")
    static_fields(data.static_store or data.store, config.model.grid)
    yield Finding("static fields", data.static_store or data.store)


def _statistics(config: Config) -> Finding:
    path = RunPaths(config.run.folder).statistics
    if not path.exists():
        return Finding("statistics", "not there yet; `fuxi-ens data statistics` makes them")
    found = load_statistics(path, config)
    return Finding("statistics", f"{path}: {found.frames} frames of {found.source}")


def _training_memory(config: Config) -> Finding:
    size, train, devices = summarize(config.model), config.train, this_process().world
    parameters = size["inference_parameters"] + size["posterior_parameters"]
    needed = run_memory(config, Placement.configured(train, devices))
    name, most = max(needed.items(), key=lambda item: item[1].total)
    sharing = f" shared by {devices}" if train.parallel == "fsdp" and devices > 1 else ""
    return Finding(
        "training memory",
        f"about {readable(most.total)} on {_each(devices)} in stage {name}: {readable(most.weights)} for "
        f"weights, gradients and optimizer of {parameters:,} parameters{sharing}, the rest for activations",
    )


def _training_cost(config: Config) -> Finding:
    devices, rates = this_process().world, Rates()
    hours = sum(training_hours(config, rates).values())
    return Finding(
        "training cost",
        f"about {devices * hours:,.3g} GPU hours, {hours:,.3g} on {_each(devices)}, if it sustains "
        f"{rates.training(config.train):g} TFLOP/s, which is assumed; validation and reading come on top",
    )


def _each(devices: int) -> str:
    return "the device" if devices == 1 else f"each of {devices} devices"


def _forecast(config: Config) -> Iterator[Finding]:
    config = resolved(config)
    init_times = config.forecast.init_times.times
    initial = open_initial_conditions(config)
    needed = np.unique([init_times - k * config.data.step_size for k in range(HISTORY)])
    absent = needed[~np.isin(needed, initial.analysis.times)]
    if absent.size:
        raise StoreError(f"{initial.store} lacks the initial frame at {label(absent[0])}; change forecast.init_times")
    if config.forecast.init_times.latest:
        yield Finding("newest init time", f"{label(init_times[0])}, of {initial.store}")
    needs = estimate(config)
    yield Finding(
        "forecast memory",
        f"about {readable(needs.device_bytes)} on the device and {readable(needs.host_bytes)} beside it in each "
        f"process, for {needs.layout.block_size} members at once",
    )
    free = shutil.disk_usage(existing_parent(config.run.folder)).free
    if needs.left_bytes > free:
        raise UserError(
            f"the forecast needs up to {readable(needs.left_bytes)} in {config.run.folder}, {readable(free)} are free; "
            "write fewer forecast.channels, lead times (forecast.lead_every_hours), members or init times, a coarser "
            "grid (forecast.height, forecast.width), or choose another run.folder"
        )
    _require_inodes(config, needs)
    if needs.kept:
        yield Finding("forecast store", f"up to {needs}; {readable(free)} free")
    else:
        yield Finding("forecast scores", str(needs))


def _require_inodes(config: Config, needs: ForecastEstimate) -> None:
    inodes = os.statvfs(existing_parent(config.run.folder)).f_favail
    # Some file systems count none, and say 0.
    if 0 < inodes < needs.left_inodes:
        raise UserError(
            f"the forecast needs {needs.left_inodes:,} inodes in {config.run.folder}, {inodes:,} are free; raise "
            "forecast.leads_per_shard, or choose another run.folder"
        )


def _verification(config: Config) -> Iterator[Finding]:
    section, truth_source = config.verify, config.verify.truth or config.data.store
    truth = verification.open_analysis(truth_source).require(section.channels)
    baseline = verification.open_forecast(section.baseline).perturbed().require(section.channels)
    baseline_truth = verification.open_analysis(section.baseline_truth or truth_source).require(section.channels)
    others = open_others(section, truth_source)
    forecasts = (baseline, *(other.store for other in others))
    for store in (*forecasts, baseline_truth, *(other.truth for other in others)):
        if store.grid != truth.grid:
            raise StoreError(
                f"{store.source} is on the grid {store.grid}, the truth on {truth.grid}; choose one on the grid of the "
                "truth"
            )
    for period in section.climatology.periods:
        if not period.contains(truth.valid_times).any():
            raise StoreError(
                f"nothing of verify.climatology.periods {period.start}..{period.end} is in {truth.source}, covering "
                f"{label(truth.valid_times[0])} to {label(truth.valid_times[-1])}; choose other years"
            )
    yield from _common(config, truth, forecasts)
    yield Finding("baseline", f"{baseline.source}: {baseline.members} members, {len(baseline.lead_times)} lead times")
    for other in others:
        held = ", ".join(other.held(section.channels))
        yield Finding(other.name, f"{other.source}: {other.store.members} members, {held}")
    tasks = worker_count(config.dask, config.run.threads)
    yield Finding("verification memory", str(memory_expected(config, forecasts, truth, tasks)))


def _common(
    config: Config, truth: verification.AnalysisStore, forecasts: Sequence[verification.ForecastStore]
) -> Iterator[Finding]:
    """What truth and forecasts have of the init times of the run."""
    init_times = config.forecast.init_times.times
    valid = np.unique(init_times[:, None] + config.lead_times[None])
    share = np.isin(valid, truth.valid_times).mean()
    shared = reduce(np.intersect1d, [store.init_times for store in forecasts], init_times)
    if share == 0 or not shared.size:
        raise StoreError(
            f"nothing can be scored: {share:.0%} of the valid times are in {truth.source}, and {len(shared)} of the "
            f"init times in {[store.source for store in forecasts]}; change forecast.init_times"
        )
    yield Finding("truth", f"{truth.source}: {share:.0%} of the valid times")
    yield Finding("common init times", f"{len(shared)} of {len(init_times)} are in all forecasts to compare with")
