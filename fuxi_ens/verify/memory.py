"""How much memory a verification takes, predicted before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fuxi_ens.channels import DERIVED_SPEED, SUMS_24H, components
from fuxi_ens.config import Config
from fuxi_ens.verify.climatology import Climatology
from fuxi_ens.verify.families import configured
from fuxi_ens.verify.kernel import OUTPUTS
from fuxi_ens.verify.open import AnalysisStore, ForecastStore
from fuxi_ens.verify.systems import System

_POINT_FIELDS: Final = 14
"""Fields that are made of an ensemble: what the kernel gives, averages, masks, and a truth."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    each: int
    """Of a task, which holds one field of an ensemble"""
    tasks: int
    cache: int
    """Fields of truth and climatology that are kept, at most"""

    @property
    def total(self) -> int:
        """Of one process with so many tasks."""
        return self.each * self.tasks + self.cache

    def __str__(self) -> str:
        return (
            f"up to {self.total / 1e9:.2g} GB: {self.tasks} tasks of {self.each / 1e6:.3g} MB, up to "
            f"{self.cache / 1e6:.4g} MB of truth and climatology kept"
        )


def memory_needed(config: Config, systems: Sequence[System], tasks: int) -> Memory:
    """For the largest of the systems."""
    names, apart = _read_names(config)
    further = 2 if apart else 0
    each = max(
        system.bytes_at_work(names)
        + further * (system.ensemble_bytes + OUTPUTS * system.truth.field_bytes)
        + _POINT_FIELDS * system.truth.field_bytes
        for system in systems
    )
    return Memory(each, tasks, config.verify.cache_megabytes * 10**6)


def memory_expected(config: Config, references: Sequence[ForecastStore], truth: AnalysisStore, tasks: int) -> Memory:
    """Like `memory_needed` while the forecast is not there yet: its members, in the layout of our own stores.

    `references` are the baseline and the others, none of them without any of the scored names.
    """
    names, apart = _read_names(config)
    second = any(name in SUMS_24H or len(components(name)) > 1 for name in names)
    further = 2 if apart else 0
    # Of our own stores a chunk is an ensemble, which waits as it is stored beside the one it is decoded into.
    ours = (2 + second + further) * config.forecast.members * truth.field_bytes
    theirs = max(
        (1 + further) * store.members * truth.field_bytes + store.scratch_bytes(store.held(names))
        for store in references
    )
    climatology = Climatology.from_config(config.verify.climatology, truth, np.array([], "datetime64[ns]"))
    reference = climatology.bytes_at_work(names) + further * climatology.ensemble_bytes
    points = (_POINT_FIELDS + further * OUTPUTS) * truth.field_bytes
    return Memory(max(ours, theirs, reference) + points, tasks, config.verify.cache_megabytes * 10**6)


def _read_names(config: Config) -> tuple[tuple[str, ...], bool]:
    """What is read as one ensemble, and whether ensembles of both components of a wind are held beside its speed's."""
    names = config.verify.channels
    speeds = set(names) & set(DERIVED_SPEED)
    apart = bool(speeds) and any(family.needs_components for family in configured(config.verify))
    if not apart:
        return names, False
    return tuple(part for name in names for part in (components(name) if name in speeds else (name,))), True
