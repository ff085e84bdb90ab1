"""From frames of the model to the fields of the files: chosen, regridded, in file units, rounded, collected.

Shape legend: M members, C channels, H latitude, W longitude, L lead times, K levels.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from fuxi_ens.data.era5 import Frames
from fuxi_ens.data.regrid import Regridder
from fuxi_ens.data.rounding import rounded
from fuxi_ens.forecast.layout import Layout, StoredVariable
from fuxi_ens.grid import LatLonGrid


class FieldMaker:
    """Turns channels in model units on the model's grid into fields in file units on the store's."""

    def __init__(self, layout: Layout, grid: LatLonGrid) -> None:
        """`grid` is that of the frames, whose channels are those of the layout."""
        self._layout = layout
        self._columns = {name: column for column, name in enumerate(layout.channels)}
        self._regrid = None
        if grid != layout.grid:
            self._regrid = Regridder(grid.latitude, grid.longitude, layout.grid, "the model's grid")

    def fill(self, shard: "Shard", lead: int, numbers: Sequence[int], ens_MCHW: Frames) -> None:
        """Put the members `numbers` at lead time `lead` of the store into a shard. Members are regridded one by one."""
        if self._regrid is not None:
            ens_MCHW = np.stack([self._regrid(frame_CHW) for frame_CHW in ens_MCHW])
        for variable in self._layout.variables:
            divisor = np.float32(variable.variable.to_model)
            for channel in variable.channels:
                fields_MHW = ens_MCHW[:, self._columns[channel.name]]
                level = variable.levels.index(channel.level) if channel.level is not None else None
                shard.put(variable, level, lead, numbers, fields_MHW if divisor == 1 else fields_MHW / divisor)
        shard.count(len(numbers))


class Shard:
    """The fields of a block of members for a run of lead times, until all are there."""

    def __init__(self, layout: Layout, numbers: range, first_lead: int) -> None:
        """An empty shard whose first lead time of the store is `first_lead`; NaN where nothing comes."""
        self.numbers, self.first_lead = numbers, first_lead
        self._layout = layout
        self._leads = min(layout.shard_leads, len(layout.lead_times) - first_lead)
        self._missing = len(numbers) * self._leads
        self._fields = {
            variable.name: np.full((len(numbers), self._leads, *layout.fields_of(variable)), np.nan, np.float32)
            for variable in layout.variables
        }

    def put(
        self, variable: StoredVariable, level: int | None, lead: int, numbers: Sequence[int], fields_MHW: Frames
    ) -> None:
        """Take the fields of members at a lead time, at a position on the level axis if the variable has one."""
        members = np.array(numbers) - self.numbers[0]
        place = (lead - self.first_lead,) if level is None else (lead - self.first_lead, level)
        self._fields[variable.name][(members, *place)] = fields_MHW

    def count(self, members: int) -> None:
        """So many members at a lead time are in place."""
        self._missing -= members

    @property
    def is_full(self) -> bool:
        """Whether all members at all lead times are in place."""
        return self._missing == 0

    def take(self) -> Iterator[tuple[str, Frames]]:
        """The arrays by name, rounded, [M, L, (K,) H, W]; given away one by one, so that memory falls."""
        for variable in self._layout.variables:
            bits = self._layout.keep_bits.get(variable.variable.short)
            yield variable.name, rounded(self._fields.pop(variable.name), bits)
