"""Dates and lead times. datetime64 and timedelta64 only; never hours since something as integers."""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Times = NDArray[np.datetime64]
Leads = NDArray[np.timedelta64]

HISTORY: Final = 2
"""Input frames: one step before init_time, and init_time itself."""


def hours(count: float) -> np.timedelta64:
    """A timedelta64[ns] of that many hours."""
    span: np.timedelta64 = pd.Timedelta(hours=count).to_timedelta64().astype("timedelta64[ns]")
    return span


def lead_times(step_size: np.timedelta64, steps: int) -> Leads:
    """Lead times of model steps 0..steps-1: step_size, 2 * step_size, ..., [steps]."""
    return np.arange(1, steps + 1) * step_size


def time_range(start: np.datetime64, end: np.datetime64, every: np.timedelta64) -> Times:
    """Times from `start` to `end`, both included when they fit, datetime64[ns]."""
    return pd.date_range(start, end, freq=pd.Timedelta(every)).to_numpy().astype("datetime64[ns]")


def label(time: np.datetime64) -> str:
    """A time as users write it in a config: 2018-01-01T06:00."""
    return f"{pd.Timestamp(time):%Y-%m-%dT%H:%M}"


def clock(times: Times, step: int) -> NDArray[np.float32]:
    """Scalars that condition the network, [times, 3]: model step, hour / 24, min(365, day of year) / 365.

    `times` are those of the newest input frames, not of the forecast targets (model.md 1.5); `step` is 0-based.
    """
    index = pd.DatetimeIndex(times)
    hour = (index.hour + index.minute / 60.0).to_numpy() / 24.0
    doy = np.minimum(index.day_of_year.to_numpy(), 365) / 365.0
    return np.stack([np.full(len(index), step), hour, doy], axis=1).astype(np.float32)
