"""Climatologies by day of the year and hour in WeatherBench 2's layout: their names, and how fields are looked up.

The mean of a variable has the variable's name, its standard deviation the suffix `_std`, its quantiles `_quantile`;
dims are hour, [quantile,] dayofyear, [level,] latitude, longitude. Our own stores have all three, WeatherBench 2's
have means, and some have standard deviations. Values are in file units.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from obstore.exceptions import BaseError

from fuxi_ens.channels import DERIVED_SPEED, SUMS_24H, channel, components
from fuxi_ens.errors import StoreError
from fuxi_ens.stores.border import open_store
from fuxi_ens.times import Times, label

Statistic = Literal["mean", "std", "quantile", "dry_fraction", "heavy_amount"]
Values = NDArray[np.float32]

SUFFIXES: Final[dict[Statistic, str]] = {
    "mean": "",
    "std": "_std",
    "quantile": "_quantile",
    "dry_fraction": "_seeps_dry_fraction",
    "heavy_amount": "_seeps_threshold",
}
DAYS: Final = 366
_QUANTILE_TOLERANCE: Final = 1e-6
_REMEDY: Final = "make one with `fuxi-ens data climatology CONFIG`"


def array_name(name: str, statistic: Statistic = "mean") -> str:
    """Name on disk of a statistic of a scored name: 10m_wind_speed_std, total_precipitation_24hr."""
    first = channel(components(name)[0])
    stem = first.variable.file_name
    if name in SUMS_24H:
        stem = f"{first.variable.name}_24hr"
    elif name in DERIVED_SPEED:
        # The height stays: 10m_u... and 10m_v... make 10m_wind_speed.
        stem = "wind_speed" if first.level else f"{stem.partition('_')[0]}_wind_speed"
    return stem + SUFFIXES[statistic]


@dataclass(frozen=True)
class ClimatologyStore:
    """An open climatology. Names are scored names; fields are read when asked for."""

    source: str
    """As the user wrote it: a path, a URL, or asset:NAME."""
    dataset: xr.Dataset
    """Lazy; latitude 90..-90, longitude eastward from 0."""

    def mean(self, name: str, valid_times: Times) -> Values:
        """Means for the day of the year and hour of `valid_times`, [time, latitude, longitude] in file units."""
        return self._fields(self._array(name, "mean"), valid_times)

    def std(self, name: str, valid_times: Times) -> Values:
        """Standard deviations, like `mean`."""
        return self._fields(self._array(name, "std"), valid_times)

    def quantile(self, name: str, q: float, valid_times: Times) -> Values:
        """Quantiles, like `mean`. Raises StoreError unless this very quantile is there."""
        array = self._array(name, "quantile")
        stored = array["quantile"].values
        position = int(np.argmin(np.abs(stored - q)))
        if abs(stored[position] - q) > _QUANTILE_TOLERANCE:
            raise StoreError(
                f"{self.source} has the quantiles {stored.tolist()}, not {q}; add it to climatology.quantiles and "
                "run `fuxi-ens data climatology CONFIG` again"
            )
        return self._fields(array.isel(quantile=position), valid_times)

    def heavy_amount(self, name: str, valid_times: Times) -> Values:
        """Amounts that two thirds of the wet cases do not reach, like `mean`; NaN where no case is wet."""
        return self._fields(self._array(name, "heavy_amount"), valid_times, may_be_empty=True)

    def dry_fraction(self, name: str) -> NDArray[np.float64]:
        """Share of dry cases over all days and hours, [latitude, longitude]; read one field at a time."""
        array = self._array(name, "dry_fraction")
        total, count = np.zeros((2, array.sizes["latitude"], array.sizes["longitude"]))
        for hour in array.indexes["hour"]:
            for day in array.indexes["dayofyear"]:
                field = self._field(array, hour, day, may_be_empty=True)
                known = np.isfinite(field)
                total += np.where(known, field, 0.0)
                count += known
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

    def _array(self, name: str, statistic: Statistic) -> xr.DataArray:
        """The lazy array of one name. Raises StoreError naming what is missing."""
        stored = array_name(name, statistic)
        if stored not in self.dataset:
            raise StoreError(f"{self.source} has no {stored} (the {statistic} of {name}); {_REMEDY}")
        array = self.dataset[stored]
        level = channel(components(name)[0]).level
        if level is None:
            return array
        if "level" not in array.indexes or level not in array.indexes["level"]:
            have = list(array.indexes["level"]) if "level" in array.indexes else []
            raise StoreError(f"{self.source} has {stored} at the levels {have}, not at {level} hPa; {_REMEDY}")
        return array.sel(level=level)

    def _fields(self, array: xr.DataArray, valid_times: Times, *, may_be_empty: bool = False) -> Values:
        index = pd.DatetimeIndex(valid_times)
        hours = array.indexes["hour"]
        unknown = ~index.hour.isin(hours) | (index != index.floor("h"))
        if unknown.any():
            raise StoreError(
                f"{self.source} is for the hours {list(hours)}, not for {label(np.asarray(valid_times)[unknown][0])}"
            )
        dates = np.stack([index.hour.to_numpy(), index.day_of_year.to_numpy()], axis=1)
        # A forecast asks for the same date many times over; each is read once.
        once, position = np.unique(dates, axis=0, return_inverse=True)
        fields = np.stack([self._field(array, hour, day, may_be_empty=may_be_empty) for hour, day in once.tolist()])
        return fields[position.ravel()]

    def _field(self, array: xr.DataArray, hour: int, day: int, *, may_be_empty: bool = False) -> Values:
        field = array.sel(hour=hour, dayofyear=day).transpose("latitude", "longitude")
        try:
            values = np.asarray(field.values, dtype=np.float32)
        except (OSError, ValueError, RuntimeError, BaseError) as error:
            raise StoreError(
                f"{self.source}: cannot read {array.name} for day {day}, {hour:02d} UTC ({error})"
            ) from error
        if not (may_be_empty or np.isfinite(values).any()):
            raise StoreError(
                f"{self.source} has no values of {array.name} for day {day} of the year, {hour:02d} UTC: it is outside "
                f"of its periods or not among its channels; {_REMEDY} that covers it"
            )
        return values


def open_climatology(source: str) -> ClimatologyStore:
    """Open our own climatology or WeatherBench 2's. Raises StoreError if `source` is no such store."""
    dataset = open_store(source).dataset
    missing = {"hour", "dayofyear", "latitude", "longitude"} - set(dataset.indexes)
    if missing:
        raise StoreError(
            f"{source} lacks the dimensions {sorted(missing)}, expected a climatology in WeatherBench 2's layout; it "
            f"has {dict(dataset.sizes)}"
        )
    days = dataset["dayofyear"].values
    if not np.array_equal(np.sort(days), np.arange(1, DAYS + 1)):
        raise StoreError(f"{source} has {len(days)} days of the year, expected 1 to {DAYS}; {_REMEDY}")
    return ClimatologyStore(source, dataset)
