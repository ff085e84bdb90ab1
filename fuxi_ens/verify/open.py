"""The only place where verification reads stores: forecasts and analyses in the layout of WeatherBench 2.

On disk `time, prediction_timedelta, number` in any order and any latitude orientation; here `init_time,
lead_time` (timedelta64[ns]) or `valid_time`, and fields [..., latitude, longitude] north to south, eastward
from 0. Fields are asked for by scored name (z500, tp, ws10m) and come in file units. Opened without Dask:
verification parallelizes over whole blocks, and chunks inside such a task would only be scheduled twice.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import xarray as xr

from fuxi_ens.channels import channel, components
from fuxi_ens.errors import StoreError
from fuxi_ens.stores import north_to_south, open_zarr
from fuxi_ens.times import Leads, Times

_FORECAST_NAMES: Final = {"time": "init_time", "prediction_timedelta": "lead_time", "number": "number"}
_ANALYSIS_NAMES: Final = {"time": "valid_time"}
_HORIZONTAL: Final = ("latitude", "longitude")


@dataclass(frozen=True)
class Store:
    """An open store with normalized dimensions."""

    source: str
    """As the user wrote it: a path, a URL, or asset:NAME."""
    dataset: xr.Dataset

    @property
    def grid(self) -> str:
        """Height, width, first latitude and longitude; equal for stores whose fields can be compared point by point."""
        height, width = (self.dataset.sizes[dim] for dim in _HORIZONTAL)
        north, west = (float(self.dataset[dim][0]) for dim in _HORIZONTAL)
        return f"{height}x{width} from {north:.6g}N {west:.6g}E"

    def require(self, names: tuple[str, ...]) -> Self:
        """Return itself if all scored names can be read. Raises StoreError naming what is missing."""
        for name in names:
            for part in components(name):
                self._variable(part)
        return self

    def _variable(self, name: str) -> xr.DataArray:
        """The lazy array of one channel."""
        item = channel(name)
        if item.variable.file_name not in self.dataset:
            found = ", ".join(sorted(map(str, self.dataset.data_vars)))
            raise StoreError(
                f"{self.source} has no {item.variable.file_name} (for {name}); it has {found}; "
                f"add it to the store or take {name} out of verify.channels"
            )
        array = self.dataset[item.variable.file_name]
        if item.level is None:
            return array
        if "level" not in array.indexes or item.level not in array.indexes["level"]:
            levels = list(array.indexes["level"]) if "level" in array.indexes else []
            raise StoreError(
                f"{self.source} has no level {item.level} (for {name}); it has {levels}; "
                f"take {name} out of verify.channels"
            )
        return array.sel(level=item.level)

    def _read(self, name: str, **labels: Any) -> xr.DataArray:
        """Values in memory; the speed of a derived wind is taken per member and time, before any average."""
        try:
            parts = [self._variable(part).sel(labels).load() for part in components(name)]
        except KeyError as error:
            raise StoreError(f"{self.source} has no {name} for {labels}: {error}") from error
        field = parts[0] if len(parts) == 1 else xr.ufuncs.hypot(*parts)
        return field.reset_coords(drop=True).rename(name)


class ForecastStore(Store):
    """Ensemble forecasts."""

    @property
    def init_times(self) -> Times:
        """Init times in the store, datetime64[ns]."""
        return self.dataset["init_time"].to_numpy().astype("datetime64[ns]")

    @property
    def lead_times(self) -> Leads:
        """Lead times in the store, timedelta64[ns]."""
        return self.dataset["lead_time"].to_numpy()

    @property
    def members(self) -> int:
        """Ensemble size M."""
        return int(self.dataset.sizes["number"])

    def ensemble(self, name: str, init_time: np.datetime64, lead_times: Leads) -> xr.DataArray:
        """Members of one forecast, [lead_time, number, latitude, longitude], in memory."""
        field = self._read(name, init_time=init_time, lead_time=lead_times)
        return field.transpose("lead_time", "number", *_HORIZONTAL)


class AnalysisStore(Store):
    """Analyses, the truth."""

    @property
    def valid_times(self) -> Times:
        """Times in the store, datetime64[ns]."""
        return self.dataset["valid_time"].to_numpy().astype("datetime64[ns]")

    def fields(self, name: str, valid_times: Times) -> xr.DataArray:
        """Analyses at `valid_times`, [valid_time, latitude, longitude], in memory."""
        return self._read(name, valid_time=valid_times).transpose("valid_time", *_HORIZONTAL)


def open_forecast(source: str) -> ForecastStore:
    """Open an ensemble store. Raises StoreError if it cannot be opened or is not in the layout above."""
    dataset = _normalized(source, _FORECAST_NAMES)
    if dataset["lead_time"].dtype.kind != "m":
        raise StoreError(
            f"{source}: prediction_timedelta is {dataset['lead_time'].dtype}, expected a time span; "
            "store it with the attribute units='hours'"
        )
    return ForecastStore(source, dataset.assign_coords(lead_time=dataset["lead_time"].astype("timedelta64[ns]")))


def open_analysis(source: str) -> AnalysisStore:
    """Open an analysis. Raises StoreError if it cannot be opened or is not in the layout above."""
    return AnalysisStore(source, _normalized(source, _ANALYSIS_NAMES))


def _normalized(source: str, names: dict[str, str]) -> xr.Dataset:
    dataset = open_zarr(source)
    missing = [dim for dim in (*names, *_HORIZONTAL) if dim not in dataset.dims]
    if missing:
        raise StoreError(
            f"{source} lacks the dimensions {missing}; it has {dict(dataset.sizes)}, expected WeatherBench 2"
        )
    dataset = dataset.rename(names)
    for dim in (*names.values(), *_HORIZONTAL):
        if dim != "number" and not (dim in dataset.indexes and dataset.indexes[dim].is_unique):
            raise StoreError(f"{source}: the coordinate {dim} is absent or holds duplicates; rewrite the store")
    return north_to_south(dataset)
