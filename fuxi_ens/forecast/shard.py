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
        for number, frame_CHW in zip(numbers, ens_MCHW, strict=True):
            fields_CHW = frame_CHW if self._regrid is None else self._regrid(frame_CHW)
            for variable in self._layout.variables:
                target = shard.place(variable, number, lead)
                for channel in variable.channels:
                    level = variable.levels.index(channel.level) if channel.level is not None else 0
                    np.divide(
                        fields_CHW[self._columns[channel.name]],
                        np.float32(variable.variable.to_model),
                        out=target[level],
                    )
            shard.count()


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

    def place(self, variable: StoredVariable, number: int, lead: int) -> Frames:
        """Where a member's fields at a lead time go, [level, latitude, longitude]."""
        fields: Frames = self._fields[variable.name][number - self.numbers[0], lead - self.first_lead]
        return fields if variable.levels else fields[None]

    def count(self) -> None:
        """A member at a lead time is in place."""
        self._missing -= 1

    @property
    def is_full(self) -> bool:
        """Whether all members at all lead times are in place."""
        return self._missing == 0

    def take(self) -> Iterator[tuple[str, Frames]]:
        """The arrays by name, rounded, [M, L, (K,) H, W]; given away one by one, so that memory falls."""
        for variable in self._layout.variables:
            bits = self._layout.keep_bits.get(variable.variable.short)
            yield variable.name, rounded(self._fields.pop(variable.name), bits)
