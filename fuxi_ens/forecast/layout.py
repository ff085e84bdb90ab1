"""What an ensemble store holds and how it is cut into files: arithmetic only, nothing is written.

A file (shard) holds one variable, one init time, one block of members and a run of lead times. Inside it a chunk holds
one level at one lead time with all members of the block, so that a map of the ensemble is one read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fuxi_ens import channels as vocabulary
from fuxi_ens.channels import Channel, Variable
from fuxi_ens.config import Config
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import Leads, Times

_FLOAT = 4
_COORDINATES = 5
"""time, number, prediction_timedelta, latitude, longitude."""


@dataclass(frozen=True)
class StoredVariable:
    """One array of a store."""

    variable: Variable
    channels: tuple[Channel, ...]
    levels: tuple[int, ...]
    """Of the array, empty for a surface field; NaN where the variable has no channel."""

    @property
    def name(self) -> str:
        """Name of the array."""
        return self.variable.file_name


@dataclass(frozen=True)
class Layout:
    """Coordinates of a forecast store, and its files."""

    init_times: Times
    members: int
    lead_times: Leads
    """Those that are written."""
    channels: tuple[str, ...]
    grid: LatLonGrid
    """Of the written fields."""
    leads_per_shard: int
    members_per_item: int | None = None
    keep_bits: Mapping[str, int] = field(default_factory=dict)

    @property
    def levels(self) -> tuple[int, ...]:
        """The level axis that all upper-air variables share."""
        return tuple(sorted({level for name in self.channels if (level := vocabulary.channel(name).level)}))

    @property
    def variables(self) -> tuple[StoredVariable, ...]:
        """The arrays of fields, in the order of their first channels."""
        groups: dict[Variable, list[Channel]] = {}
        for channel in map(vocabulary.channel, self.channels):
            groups.setdefault(channel.variable, []).append(channel)
        return tuple(
            StoredVariable(variable, tuple(group), self.levels if group[0].level is not None else ())
            for variable, group in groups.items()
        )

    @property
    def block_size(self) -> int:
        """Members of a file."""
        return min(self.members_per_item or self.members, self.members)

    @property
    def blocks(self) -> tuple[range, ...]:
        """Members of the files of one init time."""
        numbers = range(self.members)
        return tuple(numbers[first : first + self.block_size] for first in range(0, self.members, self.block_size))

    @property
    def shard_leads(self) -> int:
        """Lead times of a file."""
        return min(self.leads_per_shard, len(self.lead_times))

    def fields_of(self, variable: StoredVariable) -> tuple[int, ...]:
        """Shape of one member at one lead time: [level,] latitude, longitude."""
        return (*([len(variable.levels)] if variable.levels else []), self.grid.height, self.grid.width)

    @property
    def frame_bytes(self) -> int:
        """All channels of one member at one lead time, before compression."""
        return _FLOAT * len(self.channels) * self.grid.height * self.grid.width

    @property
    def shard_bytes(self) -> int:
        """What waits in memory until the files of a run of lead times can be written, with empty levels."""
        fields = sum(int(np.prod(self.fields_of(variable))) for variable in self.variables)
        return _FLOAT * fields * self.block_size * self.shard_leads

    @property
    def files_per_block(self) -> int:
        """Files of one init time and block of members."""
        return len(self.variables) * -(-len(self.lead_times) // self.shard_leads)

    @property
    def files(self) -> int:
        """Files with fields of the complete store."""
        return len(self.init_times) * len(self.blocks) * self.files_per_block

    @property
    def inodes(self) -> int:
        """Files and folders of the complete store: fields, coordinates, metadata, markers.

        Fields lie in the folder of their variable. A coordinate has a folder, metadata, a folder of chunks and a chunk.
        """
        coordinates = 4 * (_COORDINATES + bool(self.levels))
        markers = len(self.init_times) * len(self.blocks) + 1
        return self.files + 2 * len(self.variables) + coordinates + markers + 2


def layout_of(config: Config) -> Layout:
    """The store that a run's forecast makes."""
    forecast = config.forecast
    return Layout(
        init_times=forecast.init_times.times,
        members=len(forecast.numbers),
        lead_times=config.lead_times,
        channels=forecast.channels,
        grid=config.forecast_grid,
        leads_per_shard=forecast.leads_per_shard,
        members_per_item=forecast.members_per_item,
        keep_bits=forecast.keep_bits,
    )
