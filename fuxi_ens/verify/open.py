"""The only place where verification reads stores: forecasts and analyses, whatever the archive (`fuxi_ens.stores`).

Behind the border `time, prediction_timedelta, number` in any order; here `init_time, lead_time` (timedelta64[ns]) or
`valid_time`, and fields [..., latitude, longitude] north to south, eastward from 0. Fields are asked for by scored name
(z500, tp24, ws10m) and come in file units; wind speeds are taken per member and time, before any average. Opened
without Dask: verification parallelizes over whole blocks, and chunks inside such a task would be scheduled twice.
"""

import itertools
import logging
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.channels import SUMS_24H, Variable, channel, components
from fuxi_ens.errors import StoreError
from fuxi_ens.provenance import CONTROL_MEMBER, DRAWS
from fuxi_ens.stores import Fields, OpenStore, open_store
from fuxi_ens.stores.ensembles import EnsembleReader, first_row
from fuxi_ens.stores.finished import finished, impaired, is_ours
from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.stores.sums import cannot_be_negative, parts_of, require_whole, summed
from fuxi_ens.times import Leads, Times, label
from fuxi_ens.verify.dimensions import ANALYSIS_NAMES, FORECAST_NAMES, HORIZONTAL, normalized
from fuxi_ens.verify.speed import wind_speed
from fuxi_ens.verify.store import Store

log = logging.getLogger(__name__)

_FLOAT: Final = 4
_scratch = Scratch()


@dataclass(frozen=True)
class ForecastStore(Store):
    """Ensemble forecasts, or single ones without `number`, which count as one member."""

    opened: OpenStore
    _readers: dict[str, EnsembleReader | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def init_times(self) -> Times:
        """Init times in the store, datetime64[ns]."""
        return self.dataset["init_time"].to_numpy().astype("datetime64[ns]")

    @property
    def lead_times(self) -> Leads:
        """Lead times in the store, timedelta64[ns]."""
        return self.dataset["lead_time"].to_numpy()

    def require(self, names: tuple[str, ...]) -> Self:
        """Also raises StoreError where a 24 h sum lacks parts at all lead times."""
        super().require(names)
        require_whole(names, self.lead_times, self.source)
        return self

    @property
    def members(self) -> int:
        """Ensemble size M."""
        return int(self.dataset.sizes.get("number", 1))

    def whole(self) -> Self:
        """Without init times that `fuxi-ens forecast` has not finished, or finished without members that it gave up.

        Scores of fewer members would be others. Stores of other origin are whole. Raises StoreError when none is left.
        """
        if not is_ours(self.dataset.attrs):
            return self
        done = finished(Path(self.source), self.init_times)
        if not done.any():
            raise StoreError(f"{self.source} holds no complete init time yet; run `fuxi-ens forecast` to the end")
        if not done.all():
            log.warning("%s: %d of %d init times are not complete and left out", self.source, (~done).sum(), len(done))
        lost = impaired(Path(self.source), self.init_times)
        if lost.any():
            log.warning("%s: %d init times lack members that were given up, and are left out", self.source, lost.sum())
        if not (done & ~lost).any():
            raise StoreError(f"{self.source}: all init times lack members; see what `fuxi-ens forecast` says")
        return replace(self, dataset=self.dataset.isel(init_time=np.flatnonzero(done & ~lost)))

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Numbers of the members: those of the store, or a count from 0 where it has none."""
        return np.asarray(self.dataset["number"] if "number" in self.dataset.coords else range(self.members), np.int64)

    @property
    def control(self) -> int | None:
        """Number of the unperturbed member, None if the store names none."""
        number = self.dataset.attrs.get(CONTROL_MEMBER)
        return None if number is None else int(number)

    @property
    def draws(self) -> str:
        """How the members share their noise; empty if the store does not say."""
        return str(self.dataset.attrs.get(DRAWS, ""))

    def perturbed(self) -> Self:
        """The same without the control member: scores are of members that could change places."""
        rows = np.flatnonzero(self.numbers != self.control)
        if len(rows) == self.members:
            return self
        # A slice where it can be one: zarr reads lists of positions with many times the memory.
        kept = slice(rows[0], rows[-1] + 1) if len(rows) == rows[-1] + 1 - rows[0] else rows
        return replace(self, dataset=self.dataset.isel(number=kept))

    def ensemble(self, name: str, init_time: np.datetime64, lead_times: Leads) -> xr.DataArray:
        """Members of one forecast, [lead_time, number, latitude, longitude], in memory."""
        read = (self._read(name, init_time=init_time, lead_time=part) for part in parts_of(name, lead_times))
        parts = (part.assign_coords(lead_time=lead_times) for part in read)
        values = summed(name, parts)
        if "number" not in values.dims:
            values = values.expand_dims("number")
        return values.transpose("lead_time", "number", *HORIZONTAL)

    def ensemble_into(
        self, name: str, init_time: np.datetime64, lead_time: np.timedelta64, out: NDArray[np.float32]
    ) -> None:
        """Members of one field into `out` [number, latitude, longitude], C-contiguous; missing points are NaN.

        Decodes chunks of common layouts there and then, in this thread; others are read through xarray.
        """
        leads = [lead[0] for lead in parts_of(name, np.array([lead_time]))]
        first, *further = itertools.product(components(name), leads)
        self._fill(first[0], init_time, first[1], out)
        for part, lead in further:
            other = _scratch.take(out.shape, out.dtype)
            self._fill(part, init_time, lead, other)
            (np.add if name in SUMS_24H else wind_speed)(out, other, out=out)
        if cannot_be_negative(name):
            np.maximum(out, 0, out=out)

    def scratch_bytes(self, names: tuple[str, ...]) -> int:
        """Memory that a thread needs beside the result of `ensemble_into`."""
        field = self.members * self.dataset.sizes["latitude"] * self.dataset.sizes["longitude"] * _FLOAT
        second = max((field for name in names if name in SUMS_24H or len(components(name)) > 1), default=0)
        readers = [self._reader(part) for name in names for part in components(name)]
        if first_row(self.dataset, self.opened.dataset) is None:
            return second + field
        whole = self.members == self.opened.dataset.sizes["number"]
        return second + max(field if reader is None else reader.scratch_bytes(whole=whole) for reader in readers)

    def _fill(self, name: str, init_time: np.datetime64, lead_time: np.timedelta64, out: NDArray[np.float32]) -> None:
        reader, first = self._reader(name), first_row(self.dataset, self.opened.dataset)
        if reader is None or first is None:
            np.copyto(out, self.ensemble(name, init_time, np.array([lead_time])).to_numpy()[0], casting="same_kind")
            return
        wanted = {"time": init_time, "prediction_timedelta": lead_time, "level": channel(name).level}
        # Positions on disk, where nothing is left out.
        where = {
            dim: int(np.flatnonzero(self.opened.dataset[dim].to_numpy() == value)[0])
            for dim, value in wanted.items()
            if value is not None
        }
        reader.read_into(where, out, first)

    def _reader(self, name: str) -> EnsembleReader | None:
        """None where a layout is left to xarray."""
        if name not in self._readers:
            stored = str(self._variable(name).name)
            direct = EnsembleReader.can_read(self.opened, stored)
            self._readers[name] = EnsembleReader(self.opened, stored) if direct else None
        return self._readers[name]

    def _read(self, name: str, **labels: Any) -> xr.DataArray:
        """Values in memory."""
        try:
            parts = [self._variable(part).sel(labels).load() for part in components(name)]
        except KeyError as error:
            raise StoreError(f"{self.source} has no {name} for {labels}: {error}") from error
        return reduce(xr.ufuncs.hypot, parts).reset_coords(drop=True).rename(name)


@dataclass(frozen=True)
class AnalysisStore(Store):
    """Analyses, the truth."""

    opened: OpenStore
    _readers: dict[str, Fields] = field(default_factory=dict, compare=False, repr=False)

    @property
    def valid_times(self) -> Times:
        """Times in the store, datetime64[ns]."""
        return self.dataset["valid_time"].to_numpy().astype("datetime64[ns]")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a field."""
        return self.dataset.sizes["latitude"], self.dataset.sizes["longitude"]

    @property
    def field_bytes(self) -> int:
        """Memory of one field."""
        return self.shape[0] * self.shape[1] * _FLOAT

    def require(self, names: tuple[str, ...]) -> Self:
        """Also raises StoreError where 6-hour sums cannot be made of what the store holds."""
        super().require(names)
        for name in names:
            self._reader(name)
        return self

    def fields(self, name: str, valid_times: Times) -> xr.DataArray:
        """Analyses at `valid_times`, [valid_time, latitude, longitude], in memory."""
        parts = (self._fields(name, part).assign_coords(valid_time=valid_times) for part in parts_of(name, valid_times))
        return summed(name, parts)

    def _fields(self, name: str, valid_times: Times) -> xr.DataArray:
        positions = self.dataset.indexes["valid_time"].get_indexer(pd.DatetimeIndex(valid_times))
        if (positions < 0).any():
            absent = valid_times[positions < 0]
            raise StoreError(
                f"{self.source} has no {name} at {label(absent[0])} and {len(absent) - 1} other valid times; it covers "
                f"{label(self.valid_times[0])} to {label(self.valid_times[-1])}; move forecast.init_times or name "
                "another truth"
            )
        values = self._reader(name).read(positions)
        coords = {"valid_time": valid_times, **{dim: self.dataset[dim].to_numpy() for dim in HORIZONTAL}}
        parts = [xr.DataArray(part, coords, tuple(coords)) for part in values.swapaxes(0, 1)]
        return reduce(xr.ufuncs.hypot, parts).rename(name)

    def _names(self, variable: Variable) -> tuple[str, ...]:
        """Hourly accumulations are summed over 6 hours where the sums are not stored."""
        return (variable.file_name, variable.name) if variable.accumulated else (variable.file_name,)

    def _reader(self, name: str) -> Fields:
        if name not in self._readers:
            self._readers[name] = Fields(self.opened, components(name), model_units=False)
        return self._readers[name]


def open_forecast(source: str) -> ForecastStore:
    """Open a forecast store. Raises StoreError if it cannot be opened or is not in the layout above."""
    opened = open_store(source)
    names = {dim: name for dim, name in FORECAST_NAMES.items() if dim != "number" or dim in opened.dataset.dims}
    dataset = normalized(opened, names)
    if dataset["lead_time"].dtype.kind != "m":
        raise StoreError(
            f"{opened.source}: prediction_timedelta is {dataset['lead_time'].dtype}, expected a time span; "
            "store it with the attribute units='hours'"
        )
    return ForecastStore(opened.source, dataset, opened)


def open_analysis(source: str) -> AnalysisStore:
    """Open an analysis. Raises StoreError if it cannot be opened or is not in the layout above."""
    opened = open_store(source)
    return AnalysisStore(opened.source, normalized(opened, ANALYSIS_NAMES), opened)
