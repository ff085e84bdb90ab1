"""The ensemble store as a sink: lead times wait until a shard is full."""

from collections.abc import Sequence

import numpy as np

from fuxi_ens.config import Config
from fuxi_ens.data.era5 import Frames
from fuxi_ens.forecast.sink import FailedMember, ForecastPlan, WorkItem
from fuxi_ens.forecast.store import ForecastStore, Layout
from fuxi_ens.paths import RunPaths
from fuxi_ens.times import lead_times


def open_store_sink(plan: ForecastPlan) -> "StoreSink":
    """Create the run's store, or open it to go on. Raises StoreError when another forecast is there."""
    config = plan.config
    path = RunPaths(config.run.folder).forecast
    store = ForecastStore(path, _layout(config), config.forecast.channels, plan.attributes)
    return StoreSink(store, [plan.channels.index(name) for name in config.forecast.channels], config)


class StoreSink:
    """Writes items into a store; see `Sink`."""

    def __init__(self, store: ForecastStore, columns: list[int], config: Config) -> None:
        """`columns` are the places of the written channels among those of the frames."""
        self._store, self._columns = store, columns
        self._steps, self._leads_per_shard = config.forecast.steps, config.forecast.leads_per_shard
        self._waiting: list[Frames] = []
        self._written = 0

    def is_finished(self, item: WorkItem) -> bool:
        """Whether the store has all of the item."""
        return self._store.is_complete(item.init_time)

    def begin(self, item: WorkItem) -> None:
        """Forget what waits of an item that was given up."""
        self._waiting.clear()
        self._written = 0

    def write(self, item: WorkItem, lead: int, numbers: Sequence[int], ens_MCHW: Frames) -> None:
        """Keep what is written; full shards go to disk."""
        self._waiting.append(ens_MCHW[:, self._columns])
        if len(self._waiting) == self._leads_per_shard or lead + 1 == self._steps:
            self._store.write(item.init_time, self._written, np.stack(self._waiting, axis=1))
            self._written += len(self._waiting)
            self._waiting.clear()

    def finish(self, item: WorkItem, failed: Sequence[FailedMember] = ()) -> None:
        """Mark the item."""
        self._store.mark_complete(item.init_time)

    def close(self) -> None:
        """Nothing waits."""


def _layout(config: Config) -> Layout:
    return Layout(
        init_times=config.forecast.init_times.times,
        members=config.forecast.members,
        lead_times=lead_times(config.data.step_size, config.forecast.steps),
        channels=config.forecast.channels,
        grid=config.model.grid,
        leads_per_shard=config.forecast.leads_per_shard,
    )
