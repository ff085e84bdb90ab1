"""What a forecast is going to take: files, room on the disk, memory. Arithmetic and a look at markers, nothing else."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from fuxi_ens.channels import components
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
_SCORED_WAITING = 3
"""Lead times on their way to the scores: one is given, one waits, one is scored."""
_SCORED_AT_WORK = 3
"""Fields of all members beside them: both components of a wind, and its speed."""


@dataclass(frozen=True)
class ForecastEstimate:
    """Of the forecast of a run; sizes in bytes."""

    layout: Layout
    kept: bool
    """Whether fields are stored."""
    left: int
    """Init times that are not complete yet, as far as a store tells."""
    device_bytes: float
    """On the device of a process: networks, states of the members of an item, one step."""
    host_bytes: float
    """Beside them in its main memory: what is handed over, waits, and is written."""

    @property
    def store_bytes(self) -> int:
        """Of the complete store, before compression; 0 without one."""
        layout = self.layout
        if not self.kept:
            return 0
        return len(layout.init_times) * layout.members * len(layout.lead_times) * layout.frame_bytes

    @property
    def left_bytes(self) -> float:
        """Of what is still to be written."""
        return self.store_bytes * self.left / len(self.layout.init_times)

    @property
    def left_inodes(self) -> int:
        """Of what is still to be written."""
        return self.layout.inodes * self.left // len(self.layout.init_times) if self.kept else self.left

    def __str__(self) -> str:
        layout = self.layout
        if not self.kept:
            return f"no fields are kept, only statistics of {len(layout.init_times):,} init times, a small file each"
        return (
            f"{readable(self.left_bytes)} before compression still to write; {layout.files:,} files in all, "
            f"{layout.inodes:,} inodes"
        )


def estimate(config: Config) -> ForecastEstimate:
    """What the run's forecast takes in each process."""
    layout, model = layout_of(config), config.model
    whole = finished(config.forecast_store, layout.init_times)
    field = _FLOAT * model.height * model.width
    step = forecast_memory(model, config.forecast.members_per_batch)
    networks = max(len(config.cascade), 1)
    members = layout.block_size
    states = members * HISTORY * len(model.channels) * field
    return ForecastEstimate(
        layout=layout,
        kept=config.forecast.keep_fields,
        left=int((~whole).sum()),
        device_bytes=step.total + states,
        host_bytes=PROCESS_BYTES
        + (networks - 1) * step.weights
        + _HANDED_OVER * members * len(model.channels) * field
        + (_storing_bytes(config, layout) if config.forecast.keep_fields else 0)
        + (_scoring_bytes(config, layout) if config.forecast.scores else 0),
    )


def _storing_bytes(config: Config, layout: Layout) -> int:
    """Lead times on their way, a shard, and the largest array of it once more while it is encoded."""
    field, members = _FLOAT * config.model.height * config.model.width, layout.block_size
    waiting = (config.forecast.leads_in_flight + 2) * members * len(layout.channels) * field
    largest = max(int(np.prod(layout.fields_of(variable))) for variable in layout.variables)
    return waiting + layout.shard_bytes + _FLOAT * largest * members * layout.shard_leads


def _scoring_bytes(config: Config, layout: Layout) -> float:
    """Lead times on their way, of what is scored, one of them collected; a field at work; truths that are kept."""
    names = config.verify.channels
    needed = len({part for name in names for part in components(name)})
    model, written = (_FLOAT * grid.height * grid.width for grid in (config.model.grid, layout.grid))
    collected = needed * written + _SCORED_AT_WORK * written
    valid_times = np.unique(layout.init_times[:, None] + layout.lead_times).size
    truths = min(config.verify.cache_megabytes * 1e6, valid_times * needed * written)
    return layout.block_size * (_SCORED_WAITING * needed * model + collected) + truths


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
