"""Forecasts in GRIB and NetCDF files whose steps make one analysis: init time and lead time become the valid time."""

from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

LONGEST_STEP: Final = "longest_step_hours"
"""Attribute of what was joined: the greatest lead time in it."""

_INIT: Final = "time"
_LEAD: Final = "prediction_timedelta"
_MEMBER: Final = "number"
_VALID: Final = "valid_time"


def with_valid_time(dataset: xr.Dataset) -> xr.Dataset:
    """One time axis where there is one field per valid time; lazily, by indexing point by point.

    ERA5's accumulations are such forecasts, of 12 hours from 06 and 18 UTC. Ensembles keep init and lead time, except
    those of lead time 0, which are analyses; so do forecasts that overlap.
    """
    if dataset.sizes.get(_MEMBER) == 1:
        dataset = dataset.isel({_MEMBER: 0}, drop=True)
    if not {_INIT, _LEAD} <= set(dataset.dims):
        return dataset
    lead = dataset[_LEAD].values
    is_ensemble = _MEMBER in dataset.dims and not (len(lead) == 1 and lead[0] == np.timedelta64(0))
    valid = (dataset[_INIT].values[:, None] + lead).ravel()
    if is_ensemble or len(np.unique(valid)) < len(valid):
        return dataset
    order = np.argsort(valid)
    which = {_INIT: order // len(lead), _LEAD: order % len(lead)}
    if 1 in (len(lead), dataset.sizes[_INIT]):
        # The plain case stays a slice, which the libraries read faster than points.
        one, many = (_LEAD, _INIT) if len(lead) == 1 else (_INIT, _LEAD)
        joined = dataset.isel({one: 0}, drop=True).isel({many: which[many]}).rename({many: _VALID})
    else:
        joined = dataset.isel({dim: xr.DataArray(index, dims=_VALID) for dim, index in which.items()})
        joined = joined.drop_vars([_INIT, _LEAD])
    joined = joined.assign_coords({_VALID: pd.DatetimeIndex(valid[order])}).rename({_VALID: _INIT})
    return joined.assign_attrs({LONGEST_STEP: float(lead.max() / np.timedelta64(1, "h"))})
