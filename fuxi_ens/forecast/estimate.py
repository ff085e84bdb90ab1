"""What a forecast is going to take: files, room on the disk, memory. Arithmetic and a look at markers, nothing else."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from fuxi_ens.config import Config
from fuxi_ens.forecast.layout import Layout, layout_of
from fuxi_ens.model.memory import forecast_memory
from fuxi_ens.stores.finished import finished
from fuxi_ens.times import HISTORY

_FLOAT = 4
PROCESS_BYTES: Final = 530e6
"""Of a process before it has any field: Python, PyTorch for the CPU and the other libraries, as measured."""
_HANDED_OVER = 2
"""Lead times of all channels on the host: the one that the sinks see, and the one that comes."""


@dataclass(frozen=True)
class ForecastEstimate:
    """Of the forecast of a run; sizes in bytes."""

    layout: Layout
    left: int
    """Init times that are not complete yet."""
    device_bytes: float
    """On the device of a process: networks, states of the members of an item, one step."""
    host_bytes: float
    """Beside them in its main memory: what is handed over, waits, and is written."""

    @property
    def store_bytes(self) -> int:
        """Of the complete store, before compression."""
        layout = self.layout
        return len(layout.init_times) * layout.members * len(layout.lead_times) * layout.frame_bytes

    @property
    def left_bytes(self) -> float:
        """Of what is still to be written."""
        return self.store_bytes * self.left / len(self.layout.init_times)

    def __str__(self) -> str:
        layout = self.layout
        return (
            f"{readable(self.left_bytes)} before compression still to write; {layout.files:,} files in all, "
            f"{layout.inodes:,} inodes"
        )


def estimate(config: Config) -> ForecastEstimate:
    """What the run's forecast takes in each process."""
    layout, forecast, model = layout_of(config), config.forecast, config.model
    whole = finished(config.forecast_store, layout.init_times)
    field = _FLOAT * model.height * model.width
    step = forecast_memory(model, forecast.members_per_batch)
    networks = max(len(config.cascade), 1)
    members = layout.block_size
    states = members * HISTORY * len(model.channels) * field
    waiting = (forecast.leads_in_flight + 2) * members * len(forecast.channels) * field
    largest = max(int(np.prod(layout.fields_of(variable))) for variable in layout.variables)
    encoding = _FLOAT * largest * members * layout.shard_leads
    return ForecastEstimate(
        layout=layout,
        left=int((~whole).sum()),
        device_bytes=step.total + states,
        host_bytes=PROCESS_BYTES
        + (networks - 1) * step.weights
        + _HANDED_OVER * members * len(model.channels) * field
        + waiting
        + layout.shard_bytes
        + encoding,
    )


def planned(config: Config) -> str:
    """One line to print before a forecast starts."""
    return str(estimate(config))


def readable(count: float) -> str:
    """A number of bytes: 3.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
