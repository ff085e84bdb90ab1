"""CF NetCDF: forecast_reference_time, realization, forecast_period, [pressure_level,] latitude, longitude.

A file holds one init time, and keeps its dimension, so that files of several can be joined along it.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import dask
import numpy as np
import pandas as pd
import xarray as xr
from dask.callbacks import Callback

from fuxi_ens.channels import ACCUMULATION_HOURS, Variable
from fuxi_ens.export.parameters import PARAMETERS, height_of, netcdf_name
from fuxi_ens.export.source import Source
from fuxi_ens.files import open_atomic
from fuxi_ens.provenance import CONTROL_MEMBER
from fuxi_ens.times import hours

_INIT: Final = "forecast_reference_time"
_DIMS: Final = {"number": "realization", "lead_time": "forecast_period", "level": "pressure_level"}
_SINCE: Final = "hours since 1970-01-01"
_COMPRESSION: Final = {"zlib": True, "complevel": 4, "shuffle": True}


def write_netcdf(path: Path, source: Source, init_time: np.datetime64, variables: Sequence[Variable]) -> None:
    """Write one forecast, all of it or nothing.

    One lead time of one variable is in memory at a time, as the store's chunks hold it: all members and levels.
    """
    dataset = describe(source, init_time, variables)
    # In order, one after another: threads would each hold a chunk of all members.
    with open_atomic(path) as file, _Sink(file.name, "r+b") as sink, dask.config.set(scheduler="synchronous"):
        with Callback(pretask=lambda *_: sink.check()):
            dataset.to_netcdf(sink, engine="h5netcdf", encoding=_encoding(dataset, variables))
        sink.check()


class _Sink(io.FileIO):
    """A file for HDF5 that keeps the first failure to itself.

    HDF5 cannot close a file that it could not write, and takes the process down with it when that ends.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of a buffer, or nothing any more once something has failed."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = OSError(error.errno, os.strerror(error.errno or 0), os.fsdecode(self.name))
        return size

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if self.failure is not None:
            raise self.failure


def describe(source: Source, init_time: np.datetime64, variables: Sequence[Variable]) -> xr.Dataset:
    """The forecast as CF has it, lazily, one chunk per lead time."""
    dataset = xr.Dataset({netcdf_name(v): _field(source, init_time, v) for v in variables})
    valid = init_time + source.leads
    about = {"standard_name": "time", "long_name": "valid time"}
    dataset = dataset.assign_coords(time=((_INIT, "forecast_period"), valid[None], about))
    dataset[_INIT].attrs = {"standard_name": _INIT}
    dataset["realization"] = ("realization", source.members.astype(np.int32), {"standard_name": "realization"})
    dataset["forecast_period"].attrs = {"standard_name": "forecast_period", "long_name": "lead time"}
    dataset["latitude"].attrs = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
    dataset["longitude"].attrs = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
    if "pressure_level" in dataset.dims:
        dataset["pressure_level"].attrs = {
            "standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z",
        }  # fmt: skip
    if any(v.accumulated for v in variables):
        dataset["time"].attrs["bounds"] = "time_bounds"
        bounds = np.stack([valid - hours(ACCUMULATION_HOURS), valid], axis=1)
        dataset = dataset.assign_coords(time_bounds=((*dataset["time"].dims, "bounds"), bounds[None]))
    return dataset.assign_attrs(_attributes(source))


def _field(source: Source, init_time: np.datetime64, variable: Variable) -> xr.DataArray:
    blocks = [source.block(variable, init_time, lead).astype(np.float32) for lead in source.leads]
    array = xr.concat(blocks, pd.Index(source.leads, name="lead_time"), join="override")
    array = array.expand_dims({_INIT: [init_time]}).transpose(_INIT, "number", "lead_time", ...)
    array = array.rename({ours: theirs for ours, theirs in _DIMS.items() if ours in array.dims})
    standard_name = PARAMETERS[variable.short].standard_name
    array.attrs = {
        "long_name": variable.name.replace("_", " "),
        "units": variable.file_units.replace("**", ""),
        "cell_methods": "time: sum" if variable.accumulated else "time: point",
    }
    if standard_name is not None:
        array.attrs["standard_name"] = standard_name or variable.name
    height = height_of(variable)
    if height is not None:
        about = {"standard_name": "height", "units": "m", "positive": "up"}
        array = array.assign_coords({f"height_{height}m": ((), float(height), about)})
    # Left alone, xarray would give the height of one variable to all.
    array.attrs["coordinates"] = " ".join(["time", *([f"height_{height}m"] if height else [])])
    return array


def _attributes(source: Source) -> dict[str, Any]:
    found = source.store.dataset.attrs
    kept = {str(key): value for key, value in found.items() if isinstance(value, str | int | float)}
    if source.control is None or source.control not in source.members:
        kept.pop(CONTROL_MEMBER, None)
    return {**kept, "Conventions": "CF-1.11", "title": "Ensemble forecast"}


def _encoding(dataset: xr.Dataset, variables: Sequence[Variable]) -> dict[str, dict[str, Any]]:
    encoding: dict[str, dict[str, Any]] = {}
    for variable in variables:
        name = netcdf_name(variable)
        *others, rows, columns = dataset[name].shape
        encoding[name] = {
            **_COMPRESSION,
            "dtype": "float32",
            "_FillValue": np.float32("nan"),
            # A chunk is one map, which HDF5 reads alone.
            "chunksizes": (*(1 for _ in others), rows, columns),
        }
    encoding["forecast_period"] = {"units": "hours", "dtype": "float64", "_FillValue": None}
    for name in ("time", "time_bounds", _INIT):
        if name in dataset.coords:
            encoding[name] = {"units": _SINCE, "dtype": "float64", "_FillValue": None}
    for coord, values in dataset.coords.items():
        encoding.setdefault(str(coord), {"_FillValue": None} if values.dtype.kind == "f" else {})
    return encoding
