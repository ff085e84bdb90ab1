"""The ensemble store as a sink: fields are made, collected and written behind the back of the model."""

from collections.abc import Sequence

import numpy as np

from fuxi_ens.data.era5 import Frames
from fuxi_ens.forecast.layout import layout_of
from fuxi_ens.forecast.shard import FieldMaker, Shard
from fuxi_ens.forecast.sink import FailedMember, ForecastPlan, WorkItem, read_note, write_note
from fuxi_ens.forecast.store import ForecastStore
from fuxi_ens.forecast.writer import BackgroundWriter
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import lead_times


def open_store_sink(plan: ForecastPlan) -> "StoreSink":
    """Create the run's store, or open it to go on. Raises StoreError when another forecast is there."""
    config = plan.config
    layout = layout_of(config)
    grids = {"grid": _grid(layout.grid, config.model.grid)}
    store = ForecastStore(config.forecast_store, layout, {**plan.attributes, **grids})
    # Place of each step of the model among the lead times that are written.
    steps = lead_times(config.data.step_size, config.forecast.steps)
    written = {int(np.flatnonzero(steps == lead)[0]): place for place, lead in enumerate(layout.lead_times)}
    columns = [plan.channels.index(name) for name in layout.channels]
    return StoreSink(
        store, FieldMaker(layout, config.model.grid), written, columns, waiting=config.forecast.leads_in_flight
    )


class StoreSink:
    """Writes items into a store; see `Sink`."""

    def __init__(
        self, store: ForecastStore, maker: FieldMaker, written: dict[int, int], columns: list[int], *, waiting: int
    ) -> None:
        """Start the writer.

        Args:
            store: Where the fields go.
            maker: How they are made.
            written: Lead time index in the store of each lead time index of the model that is written.
            columns: Places of the written channels among those of the frames.
            waiting: Lead times that may wait.
        """
        self._store, self._maker, self._places, self._columns = store, maker, written, columns
        self._writer = BackgroundWriter(waiting)
        self._shard: Shard | None = None

    def is_finished(self, item: WorkItem) -> bool:
        """Whether the store has all of the item."""
        return self._store.is_finished(item.init_time, item.numbers)

    def begin(self, item: WorkItem) -> None:
        """Forget what waits of an item that was given up."""
        self._writer.submit(self._forget)

    def write(self, item: WorkItem, lead: int, numbers: Sequence[int], ens_MCHW: Frames) -> None:
        """Hand over what is written of a lead time; waits while too many are on their way."""
        if lead in self._places:
            place, chosen = self._places[lead], ens_MCHW[:, self._columns]
            self._writer.submit(lambda: self._take(item, place, numbers, chosen))

    def finish(self, item: WorkItem, failed: Sequence[FailedMember] = ()) -> None:
        """Have the item marked once its fields are on disk."""
        self._writer.submit(lambda: self._store.finish(item.init_time, item.numbers, write_note(failed)))

    def given_up(self, item: WorkItem) -> tuple[FailedMember, ...]:
        """Those that the marker remembers."""
        return read_note(self._store.note(item.init_time, item.numbers))

    def close(self) -> None:
        """Wait for the disk."""
        self._writer.close()

    # From here on in the writer's thread.

    def _forget(self) -> None:
        self._shard = None

    def _take(self, item: WorkItem, place: int, numbers: Sequence[int], chosen_MCHW: Frames) -> None:
        if self._shard is None:
            self._shard = Shard(self._store.layout, item.numbers, place)
        self._maker.fill(self._shard, place, numbers, chosen_MCHW)
        if self._shard.is_full:
            shard, self._shard = self._shard, None
            for name, values in shard.take():
                self._store.write(item.init_time, item.numbers, shard.first_lead, name, values)


def _grid(written: LatLonGrid, model: LatLonGrid) -> str:
    """What readers should know of the grid."""
    size = f"{written.height}x{written.width} latitude-longitude"
    return size if written == model else f"{size}, regridded conservatively from {model.height}x{model.width}"
