"""First half of a climatology: every analysis is read once, and kept by day of the year in scratch files.

A file holds a run of days, [hour, day, kept, field, latitude, longitude] float32. For mean and standard deviation
"kept" is the number of values, their mean and their squared deviations over the years; for quantiles and categories
it is the years.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from fuxi_ens.data.climatology.plan import Place, Unit
from fuxi_ens.data.era5 import Analysis, Frames
from fuxi_ens.stores.climatology import DAYS
from fuxi_ens.stores.sums import parts_of, summed, whole
from fuxi_ens.times import Times

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Days:
    """A task: days first..stop of the year, counted from 0."""

    place: Place
    first: int
    stop: int

    @property
    def path(self) -> Path:
        """Where the result goes."""
        return Path(self.place.scratch) / f"days-{self.first:03d}-{self.stop:03d}.npy"


def runs_of_days(place: Place) -> list[Days]:
    """All gathering tasks of a unit."""
    size = place.plan.days_per_task(place.unit)
    return [Days(place, first, min(first + size, DAYS)) for first in range(0, DAYS, size)]


def gather(task: Days) -> int:
    """Read the analyses of some days and write their file; gives the bytes read. Raises StoreError."""
    kept = _moments(task) if task.place.unit.kind == "moments" else _samples(task)
    _save(task.path, kept)
    dates = task.place.plan.dates.present[list(task.place.unit.hours), task.first : task.stop]
    return 4 * int(dates.sum()) * len(task.place.unit.channels) * task.place.plan.height * task.place.plan.width


def _moments(task: Days) -> Frames:
    """Number, mean and squared deviations: [hour, day, 3, field, latitude, longitude]."""
    count, mean, squares = np.zeros((3, *_shape(task)))
    for _, hour, day, fields in _dates(task):
        _add_sample(fields.ravel(), count[hour, day].ravel(), mean[hour, day].ravel(), squares[hour, day].ravel())
    return np.stack([count, mean, squares], axis=2, dtype=np.float32, casting="same_kind")


def _samples(task: Days) -> Frames:
    """Fields year by year, NaN for dates that do not count: [hour, day, year, field, latitude, longitude]."""
    hours, days, *field = _shape(task)
    samples = np.full((hours, days, task.place.plan.dates.times.shape[2], *field), np.nan, np.float32)
    for year, hour, day, fields in _dates(task):
        samples[hour, day, year] = fields
    return samples


def _shape(task: Days) -> tuple[int, ...]:
    plan, unit = task.place.plan, task.place.unit
    return len(unit.hours), task.stop - task.first, unit.fields, plan.height, plan.width


def _dates(task: Days) -> Iterator[tuple[int, int, int, Frames]]:
    """Year, hour and day as positions, and the fields [field, latitude, longitude]; years in order."""
    unit, dates = task.place.unit, task.place.plan.dates
    analysis = task.place.reading.open()
    hours = list(unit.hours)
    times = dates.times[hours, task.first : task.stop]
    available = dates.times[dates.present]
    present = dates.present[hours, task.first : task.stop]
    present = present & whole(unit.name, times.ravel(), available).reshape(times.shape)
    for year in range(times.shape[2]):
        # Once each, and in the order of the store, even if day 366 repeats day 365.
        asked = np.unique(times[..., year][present[..., year]])
        if not asked.size:
            continue
        fields = summed(unit.name, (_read(analysis, unit, part) for part in parts_of(unit.name, asked)))
        for hour, day in np.argwhere(present[..., year]).tolist():
            yield year, hour, day, fields[np.searchsorted(asked, times[hour, day, year])]


def _read(analysis: Analysis, unit: Unit, times: Times) -> Frames:
    """Channels of the unit, or speeds of its components, [time, field, latitude, longitude]."""
    frames = analysis.read(times)
    return np.hypot(frames[:, : unit.fields], frames[:, unit.fields :]) if unit.is_speed else frames


def _save(path: Path, array: Frames) -> None:
    """Under its name only once it is whole, so that a file that is there need not be made again."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _welford(values: NDArray[np.float32], count: Values, mean: Values, squares: Values) -> None:
    """Add one sample per point, in place; NaN is no sample."""
    for i in range(values.size):
        x = float(values[i])
        # NaN is the only number that differs from itself.
        if x == x:
            count[i] += 1.0
            step = x - mean[i]
            mean[i] += step / count[i]
            squares[i] += step * (x - mean[i])


_add_sample: Callable[..., None] = numba.njit(nogil=True)(_welford)
