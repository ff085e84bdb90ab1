"""What `prepare` is going to write: times, variables, shards. Nothing is read but axes, nothing is written."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxi_ens import channels as vocabulary
from fuxi_ens.channels import Variable
from fuxi_ens.cluster import THREADS_THAT_WAIT
from fuxi_ens.config import Config, Period, PrepareConfig
from fuxi_ens.data.preparation.shard import ShardTask, opened, regridder
from fuxi_ens.data.skip import load_skip_list
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores.fields import Fields
from fuxi_ens.stores.remote import is_remote
from fuxi_ens.times import Times, label, time_range

Positions = NDArray[np.intp]


@dataclass(frozen=True)
class PlannedVariable:
    """One array of the training store."""

    variable: Variable
    channels: tuple[str, ...]
    rows: tuple[int, ...]
    """Place of each channel on the level axis; empty for a surface field."""

    @property
    def name(self) -> str:
        """Name of the array."""
        return self.variable.file_name


@dataclass(frozen=True)
class Plan:
    """The training store that a config asks for, and where each of its times lies in the source."""

    target: Path
    source: str
    static_source: str
    channels: tuple[str, ...]
    grid: LatLonGrid
    times: Times
    positions: Positions
    """Of `times` on the time axis of the source."""
    source_points: int
    """Of one field of the source."""
    settings: PrepareConfig
    threads: int
    """Threads of one task that fetch and decode."""

    @property
    def levels(self) -> tuple[int, ...]:
        """The level axis that all upper-air variables share; a variable is NaN on levels that were not asked for."""
        return tuple(sorted({level for name in self.channels if (level := vocabulary.channel(name).level)}))

    @property
    def variables(self) -> tuple[PlannedVariable, ...]:
        """The arrays with a time axis, in the order of their first channels."""
        groups: dict[Variable, list[vocabulary.Channel]] = {}
        for channel in map(vocabulary.channel, self.channels):
            groups.setdefault(channel.variable, []).append(channel)
        return tuple(
            PlannedVariable(
                variable, tuple(c.name for c in group), tuple(self.levels.index(c.level) for c in group if c.level)
            )
            for variable, group in groups.items()
        )

    def shape(self, variable: PlannedVariable) -> tuple[int, ...]:
        """Of one time: [level,] latitude, longitude."""
        levels = (len(self.levels),) if variable.rows else ()
        return (*levels, self.grid.height, self.grid.width)

    @property
    def times_per_shard(self) -> int:
        """A store with fewer times than a shard may hold gets one shard of all of them."""
        return min(self.settings.times_per_shard, len(self.times))

    def tasks(self) -> Iterator[ShardTask]:
        """All shards, by time; each is written by one task and by no other."""
        for first in range(0, len(self.times), self.times_per_shard):
            for variable in self.variables:
                yield self.task(variable, first, self.times_per_shard)

    def task(self, variable: PlannedVariable, first: int, count: int) -> ShardTask:
        """The task that writes `count` times of a variable from `first` on."""
        shape = self.shape(variable)
        return ShardTask(
            store=str(self.target),
            name=variable.name,
            path="/".join([variable.name, "c", str(first // self.times_per_shard), *"0" * len(shape)]),
            first=first,
            positions=tuple(self.positions[first : first + count].tolist()),
            shape=shape,
            channels=variable.channels,
            rows=variable.rows,
            source=_located(self.source),
            source_points=self.source_points,
            grid=self.grid,
            keep_bits=self.settings.keep_bits.get(variable.variable.short),
            threads=self.threads,
        )

    @property
    def shard_count(self) -> int:
        """How many files hold fields."""
        return -(-len(self.times) // self.times_per_shard) * len(self.variables)

    def identity(self) -> dict[str, Any]:
        """What decides the bytes of the store; a store begun with another one is not continued."""
        return {
            "source": self.source,
            "static_source": self.static_source,
            "channels": list(self.channels),
            "grid": [self.grid.height, self.grid.width],
            "times": f"{len(self.times)} from {label(self.times[0])} to {label(self.times[-1])}",
            "times_sha256": hashlib.sha256(self.times.astype("<i8").tobytes()).hexdigest(),
            **self.settings.model_dump(mode="json", include={"times_per_shard", "codec", "codec_level", "keep_bits"}),
        }


def make_plan(config: Config) -> Plan:
    """Find every time that the config asks for in the source. Raises UserError when something cannot be had."""
    settings = config.prepare
    if settings is None:
        raise UserError("the config has no section prepare; add one that names prepare.source, see configs/")
    target = _local_target(config, settings)
    # What an earlier plan of this process opened may have been rewritten since.
    opened.cache_clear()
    regridder.cache_clear()
    times = _times(config, settings)
    fields = Fields(opened(settings.source), config.model.channels, threads=1, model_units=False)
    return Plan(
        target=target.absolute(),
        source=settings.source,
        static_source=config.data.static_store or settings.source,
        channels=config.model.channels,
        grid=config.model.grid,
        times=times,
        positions=_positions(fields, times, settings.source),
        source_points=fields.shape[0] * fields.shape[1],
        settings=settings,
        # Behind a network the threads of one task wait together; on a disk the tasks themselves keep the cores busy.
        threads=config.data.read_threads or (THREADS_THAT_WAIT if is_remote(settings.source) else 1),
    )


def _local_target(config: Config, settings: PrepareConfig) -> Path:
    store = config.data.store
    if "://" in store or store.startswith("asset:"):
        raise UserError(
            f"data.store {store} is where prepare writes and must be a path on a disk; copy the finished store to a "
            "bucket if it is needed there"
        )
    if Path(store).absolute() == Path(settings.source).absolute():
        raise UserError(f"prepare.source and data.store are both {store}; name another data.store")
    return Path(store)


def _located(source: str) -> str:
    """The same for workers that start in another folder."""
    return source if "://" in source or source.startswith("asset:") else str(Path(source).absolute())


def _times(config: Config, settings: PrepareConfig) -> Times:
    """All valid times of the periods, once each, without those of the skip list."""
    data = config.data
    periods: tuple[Period, ...] = settings.periods or (*data.train, *data.validation, *data.test)
    spans = [time_range(np.datetime64(p.start, "ns"), np.datetime64(p.end, "ns"), data.step_size) for p in periods]
    times = np.unique(np.concatenate(spans))
    if data.skip_list:
        times = np.setdiff1d(times, load_skip_list(data.skip_list, settings.source))
    if not times.size:
        raise UserError("no time is left to prepare: the periods hold none that the skip list does not name")
    return times


def _positions(fields: Fields, times: Times, source: str) -> Positions:
    order = np.argsort(fields.times, kind="stable")
    stored = fields.times[order]
    first, last = np.searchsorted(stored, times, "left"), np.searchsorted(stored, times, "right")
    absent = times[first == last]
    if absent.size:
        covers = f"covers {label(stored[0])} to {label(stored[-1])}" if stored.size else "holds no time at all"
        raise StoreError(
            f"{source} lacks {absent.size} of {times.size} times, first {label(absent[0])}; it {covers}; shorten "
            "prepare.periods, or name a skip list of `fuxi-ens data audit` in data.skip_list"
        )
    repeated = times[last - first > 1]
    if repeated.size:
        raise StoreError(
            f"{source} holds {label(repeated[0])} more than once, and {repeated.size - 1} other times too; which is "
            "right cannot be known: see `fuxi-ens data audit`, and name its skip list in data.skip_list"
        )
    return order[first]
