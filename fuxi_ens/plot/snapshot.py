"""All members of one field at one lead time, with the words that say so on a chart."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.plot.style import chart_units, lead_label, long_name, members_label, system_label


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All members of one field at one lead time, file units."""

    name: str
    system: str
    """Its name in the title; empty where the page around the figure says it."""
    init_time: np.datetime64
    lead_time: np.timedelta64
    members: xr.DataArray
    """[number, latitude, longitude], without the control member: mean, spread and shares are of these."""
    truth: xr.DataArray | None = None
    """[latitude, longitude], on the grid of the members."""
    control: xr.DataArray | None = None
    """[latitude, longitude], of forecasts that have a control member."""

    def charted(self, field: xr.DataArray) -> xr.DataArray:
        """A field of this name in chart units, float64: a threshold such as 273.15 K is no number of float32."""
        return field.copy(data=chart_units(self.name).field(field.to_numpy().astype(np.float64)))

    @property
    def title(self) -> str:
        """What is shown, of which system, from when, for when, of how many members; two lines."""
        what = ", ".join(filter(None, (long_name(self.name), system_label(self.system))))
        return f"{what}\n{self.times}   {self.count}"

    @property
    def count(self) -> str:
        """How many members are drawn."""
        return members_label(len(self.members), control=self.control is not None)

    @property
    def hours(self) -> str:
        """The lead time in hours, for names of files."""
        return f"{self.lead_time / np.timedelta64(1, 'h'):g}"

    @property
    def times(self) -> str:
        """Init time, lead time and valid time in one line."""
        valid_time = utc(self.init_time + self.lead_time)
        return f"init {utc(self.init_time)}   {lead_label(self.lead_time)} (+{self.hours} h)   valid {valid_time}"


def utc(time: np.datetime64) -> str:
    """A time as it stands on a chart: `1997-01-22 00 UTC`."""
    return f"{pd.Timestamp(time):%Y-%m-%d %H} UTC"
