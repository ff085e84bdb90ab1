"""Names of foreign stores and what we call them: dims, pressure levels, variables. No other file knows them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import xarray as xr

from fuxi_ens.channels import STATIC_LAND_SEA_MASK, STATIC_OROGRAPHY, SURFACE, UPPER_AIR
from fuxi_ens.stores.init_time import dims_of_spans

_TIME: Final = "time"
_VALID_TIME: Final = "valid_time"
_INIT_TIMES: Final = ("init_time", "forecast_reference_time", "initial_time0_hours")
_DIMS: Final = MappingProxyType(
    {
        "latitude": ("lat",),
        "longitude": ("lon",),
        "level": ("isobaricInhPa", "isobaricInPa", "pressure_level", "plev", "levelist", "lev", "pressure"),
        # Of an analysis the valid time, of a forecast the init time, as in WeatherBench 2.
        _TIME: (*_INIT_TIMES, _VALID_TIME),
        "prediction_timedelta": ("lead_time", "step", "forecast_period"),
        "number": ("realization", "sample", "member", "ensemble"),
    }
)
"""Our names and the others in use: cfgrib, CDS, CMIP, NCL, WeatherBench-X, NeuralGCM, GenCast, ACE, anemoi."""
_STATIC: Final = MappingProxyType(
    {"z": STATIC_OROGRAPHY, "orog": STATIC_OROGRAPHY, "orography": STATIC_OROGRAPHY, "lsm": STATIC_LAND_SEA_MASK}
)
_UPPER: Final = MappingProxyType({alias: v.name for v in UPPER_AIR for alias in v.aliases})
_SURFACE: Final = MappingProxyType(
    {alias: v.name for v in SURFACE for alias in v.aliases}
    # Without the suffix an accumulation may be hourly, or run from the start of the forecast.
    | {f"{alias}_6hr": v.file_name for v in SURFACE if v.accumulated for alias in v.aliases}
)
_ACCUMULATED: Final = frozenset(alias for v in SURFACE if v.accumulated for alias in v.aliases)
_LARGEST_HPA: Final = 1100.0


def is_known(name: str, *, has_levels: bool) -> bool:
    """Whether other archives call a variable of ours, on pressure levels or near the surface, so."""
    return name in (_UPPER if has_levels else {**_STATIC, **_SURFACE})


def is_accumulated(name: str) -> bool:
    """Whether the variable that others call so is a sum over time."""
    return name in _ACCUMULATED


def dims_of(dataset: xr.Dataset) -> dict[str, str]:
    """What to rename so that dims, and coordinates without a dim, have our names."""
    renamed = _valid_time_beside_init_time(dataset) or dims_of_spans(dataset)
    for ours, others in _DIMS.items():
        is_there = (ours in dataset.dims or ours in dataset.variables) and ours not in renamed
        if is_there or ours in renamed.values():
            continue
        for other in others:
            if other in dataset.dims or (other in dataset.variables and dataset[other].ndim == 0):
                renamed[other] = ours
                break
    return renamed


def _valid_time_beside_init_time(dataset: xr.Dataset) -> dict[str, str]:
    """In forecasts after the CF conventions `time` is no axis, but the valid time along the axes of the forecast."""
    is_label = _TIME in dataset.variables and _TIME not in dataset.dims
    has_init_time = any(name in dataset.variables for name in _INIT_TIMES)
    return {_TIME: _VALID_TIME} if is_label and has_init_time and _VALID_TIME not in dataset.variables else {}


def accepted(dim: str) -> str:
    """Our name of a dimension and the others in use, for messages."""
    return ", ".join((dim, *_DIMS.get(dim, ())))


def variables_of(dataset: xr.Dataset) -> dict[str, str]:
    """What to rename so that the variables we know have WeatherBench 2's names; dims must be ours already.

    `t` without a level is no temperature of ours, and `z` without one is the orography.
    """
    renamed: dict[str, str] = {}
    for name, array in dataset.data_vars.items():
        table: Mapping[str, str] = _UPPER if "level" in array.dims else {**_STATIC, **_SURFACE}
        ours = table.get(str(name))
        if ours is not None and ours not in dataset.variables and ours not in renamed.values():
            renamed[str(name)] = ours
    return renamed


def with_axes(dataset: xr.Dataset) -> xr.Dataset:
    """Time and level as dims of length 1 where a file holds one of them as a scalar; reads the fields that gain one."""
    for dim in ("level", "time"):
        if dim in dataset.variables and dataset[dim].ndim == 0:
            dataset = dataset.set_coords(dim)
            gaining = [n for n in dataset.data_vars if dim == "time" or n in _UPPER or n in _UPPER.values()]
            dataset = dataset.assign({name: dataset[name].expand_dims(dim) for name in gaining})
    return dataset


def levels_in_hpa(dataset: xr.Dataset) -> xr.Dataset:
    """The coordinate `level` as whole hPa where the values are pressures; others stay."""
    if "level" not in dataset.coords:
        return dataset
    level = dataset["level"]
    values = np.asarray(level.values, dtype=np.float64)
    in_pascal = level.attrs.get("units") == "Pa" or bool(np.any(values > _LARGEST_HPA))
    values = values / 100.0 if in_pascal else values
    if np.array_equal(values, np.round(values)):
        values = values.astype(np.int64)
    attrs = {**level.attrs, "units": "hPa"}
    return dataset.assign_coords(level=(level.dims, values, attrs))
