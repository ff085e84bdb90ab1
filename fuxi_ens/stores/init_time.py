"""Forecasts as GraphCast and GenCast write them: `time` counts from the init time, which only `datetime` tells.

Their dims are batch, sample, time, and `datetime` [batch, time] holds the valid times; `batch` is often squeezed away.
"""

from typing import Final

import numpy as np
import xarray as xr

_BATCH: Final = "batch"
_VALID: Final = "datetime"
_TIME: Final = "time"
_LEAD: Final = "prediction_timedelta"


def dims_of_spans(dataset: xr.Dataset) -> dict[str, str]:
    """What to rename in an undecoded dataset whose `time` is a span: its unit refers to no date."""
    if _TIME not in dataset.dims or _TIME not in dataset.variables or _LEAD in dataset.variables:
        return {}
    about = dataset[_TIME].attrs
    units = str(about.get("units", "since"))
    if "since" in units and "timedelta" not in str(about.get("dtype", "")):
        return {}
    return {_TIME: _LEAD, **({_BATCH: _TIME} if _BATCH in dataset.dims else {})}


def with_init_time(dataset: xr.Dataset) -> xr.Dataset:
    """The axis `time` of a decoded forecast, from its valid times; lazily. A dataset that has one is left alone."""
    if _TIME in dataset.variables or _LEAD not in dataset.variables or _VALID not in dataset.variables:
        return dataset
    lead = dataset[_LEAD]
    first = dataset[_VALID].isel({_LEAD: 0}) if _LEAD in dataset[_VALID].dims else dataset[_VALID]
    init = (first - lead[0]).to_numpy().astype("datetime64[ns]")
    dataset = dataset.drop_vars(_VALID)
    if _TIME in dataset.dims:
        return dataset.assign_coords({_TIME: np.atleast_1d(init)})
    if init.ndim:
        return dataset
    # Without Dask a field that gains a dimension would be read.
    return dataset.chunk({_LEAD: 1}).expand_dims({_TIME: [init[()]]})
