"""Verification cut into pieces of work for Dask: some lead times of one name, init_time and system.

Workers open the stores themselves, once, and keep what is needed again (truths, climatology) up to a bound.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fuxi_ens.config import Config
from fuxi_ens.times import Leads
from fuxi_ens.verify.climate import FieldCache
from fuxi_ens.verify.families import configured
from fuxi_ens.verify.opened import open_climate, open_systems
from fuxi_ens.verify.sample import Sample
from fuxi_ens.verify.statistics import Case, Scorer
from fuxi_ens.verify.systems import Role, System

LEADS_PER_ITEM: Final = 10
"""Small enough for one forecast to occupy many workers; large enough for a truth's chunk to be read once."""


@dataclass(frozen=True)
class Task:
    """What a worker needs to open the stores; equal for all items of a run."""

    config: Config
    forecast_store: str
    run: str
    """Different for every run: stores may change between two runs of one process."""


@dataclass(frozen=True)
class Item:
    """One piece of work."""

    task: Task
    number: int
    system: int
    """Position among the systems."""
    name: str
    init_time: np.datetime64
    lead_times: Leads


@dataclass(frozen=True)
class File:
    """Statistics of one system and init_time that are to be made."""

    system: int
    init_time: np.datetime64
    lead_times: Leads
    path: Path

    def keys(self, scorer: Scorer, name: str) -> dict[np.timedelta64, "CaseKey"]:
        """Which cases it is made of, by lead time."""
        role, leads = scorer.system.role, scorer.system.offered(name, self.init_time, self.lead_times)
        return {lead: key_of(role, self.system, name, self.init_time, lead) for lead in leads}


CaseKey = tuple[int, str, np.datetime64, np.timedelta64]
"""System, name, init_time, lead_time; of a climatology, what decides is the valid_time, with lead_time 0."""


def key_of(role: Role, system: int, name: str, init_time: np.datetime64, lead_time: np.timedelta64) -> CaseKey:
    """Which case serves this pair. Those of a climatology serve up to 30 init times."""
    if role == "climatology":
        return system, name, init_time + lead_time, np.timedelta64(0, "ns")
    return system, name, init_time, lead_time


def plan(task: Task, scorers: Sequence[Scorer], files: Sequence[File]) -> tuple[list[Item], list[set[int]]]:
    """The work for some files, nothing twice, init_time by init_time; and the numbers of the items of each file."""
    items: list[Item] = []
    needs: list[set[int]] = [set() for _ in files]
    order = sorted(range(len(files)), key=lambda index: files[index].init_time)
    claimed: dict[CaseKey, int] = {}
    for index in order:
        file, scorer = files[index], scorers[files[index].system]
        for name in scorer.names:
            keys = file.keys(scorer, name)
            needs[index].update(claimed[key] for key in keys.values() if key in claimed)
            fresh = [lead for lead, key in keys.items() if key not in claimed]
            for start in range(0, len(fresh), LEADS_PER_ITEM):
                part = fresh[start : start + LEADS_PER_ITEM]
                number = len(items)
                items.append(Item(task, number, file.system, name, file.init_time, np.array(part)))
                needs[index].add(number)
                if scorer.system.role == "climatology":
                    claimed.update((keys[lead], number) for lead in part)
    return items, needs


def score_item(item: Item) -> list[Case]:
    """One case per lead time of the item. Raises StoreError for unwritten or broken forecasts."""
    return _workplace.scorers(item.task)[item.system].cases(item.name, item.init_time, item.lead_times)


class _Workplace:
    """The open stores of the run at hand; threads share them."""

    def __init__(self) -> None:
        self._run, self._scorers = "", list[Scorer]()
        self._lock = threading.Lock()

    def scorers(self, task: Task) -> list[Scorer]:
        """Those of the task's run, opened by the first thread that asks."""
        with self._lock:
            if self._run != task.run:
                self._scorers = open_scorers(task.config, task.forecast_store)[0]
                self._run = task.run
            return self._scorers

    def close(self) -> None:
        """Forget the stores and what was read."""
        with self._lock:
            self._run, self._scorers = "", []


_workplace = _Workplace()


def leave() -> None:
    """Free what this process keeps between items."""
    _workplace.close()


def open_scorers(config: Config, forecast_store: str) -> tuple[list[Scorer], Sample]:
    """A scorer for each system, which share a cache, and the pairs to score. Raises what opening stores raises."""
    systems, sample = open_systems(config, forecast_store)
    return scorers_of(config, systems), sample


def scorers_of(config: Config, systems: Sequence[System]) -> list[Scorer]:
    """A scorer for each system, which share a cache."""
    section = config.verify
    cache = FieldCache(section.cache_megabytes * 10**6 // 2)
    climate, families = open_climate(config), configured(section)
    return [
        Scorer(system, system.held(section.channels), section.regions, families, cache, climate) for system in systems
    ]
