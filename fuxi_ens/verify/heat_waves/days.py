"""Days, thresholds and spells; arrays [..., day, latitude, longitude], NaN in, NaN out.

A day's maximum is that of its four 6-hourly values, for truth, threshold and members alike: lower than the true maximum
by the same amount.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fuxi_ens.config import HeatWaveConfig
from fuxi_ens.times import Times, hours, time_range

Array = NDArray[np.floating]
_STEP: Final = hours(6)
SAMPLES: Final = 4
"""Values in a day."""


def days_of(event: HeatWaveConfig) -> Times:
    """Days of the period, datetime64[ns]."""
    start, end = (np.datetime64(time, "D") for time in (event.period.start, event.period.end))
    return time_range(start.astype("datetime64[ns]"), end.astype("datetime64[ns]"), hours(24))


def sampled(days: Times, first_hour: int) -> Times:
    """Times of the values of each day, [day, 4]; a day that begins at 12 or 18 UTC begins on the date before."""
    begin = hours(first_hour if first_hour < 12 else first_hour - 24)
    return days[:, None] + begin + _STEP * np.arange(SAMPLES)


def reference_days(event: HeatWaveConfig) -> list[Times]:
    """Per day of the period, the days of the reference years near the same date.

    February 29 stands for itself in leap years and for February 28 in others. Only days that lie wholly in the
    reference periods are taken.
    """
    window = hours(24) * np.arange(-event.window_days, event.window_days + 1)
    years = sorted({y for p in event.reference for y in range(p.start.year - 1, p.end.year + 2)})
    found = []
    for day in pd.DatetimeIndex(days_of(event)):
        centers: Times = np.array([day + pd.DateOffset(year=year) for year in years], dtype="datetime64[ns]")
        near: Times = (centers[:, None] + window).ravel()
        times = sampled(near, event.first_hour)
        inside = np.any([p.contains(times[:, 0]) & p.contains(times[:, -1]) for p in event.reference], axis=0)
        found.append(np.unique(near[inside]))
    return found


def daily_maximum(values: Array) -> Array:
    """Maximum of each day from values in time order, [..., 4 * days, H, W] to [..., days, H, W]."""
    *outer, count, height, width = values.shape
    highest: Array = values.reshape(*outer, count // SAMPLES, SAMPLES, height, width).max(axis=-3)
    return highest


def in_spell(hot: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """Which days, on the third axis from the end, belong to a run of at least `least` hot days in a row.

    Only the days that are given count: a run that goes on beyond them may be cut too short.
    """
    days = hot.shape[-3]
    spell = np.zeros_like(hot)
    for first in range(days - least + 1):
        run = hot[..., first : first + least, :, :].all(axis=-3, keepdims=True)
        spell[..., first : first + least, :, :] |= run
    return spell
