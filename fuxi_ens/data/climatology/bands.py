"""Second half of a climatology: the window over the days gathered, one band of latitudes of one field at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import zarr

from fuxi_ens.channels import DRY_MM
from fuxi_ens.data.climatology.categories import categories
from fuxi_ens.data.climatology.gather import runs_of_days
from fuxi_ens.data.climatology.plan import Place
from fuxi_ens.data.climatology.quantile import quantiles
from fuxi_ens.data.climatology.window import Fields, mean_and_std, window_weights
from fuxi_ens.stores.climatology import DAYS, Statistic, array_name

_STRIP_BYTES: Final = 2**28
"""Memory of a task, unless a single latitude needs more."""
_COPIES: Final = 16
"""How often the gathered values are in memory at once, in float32: sums, sorted copies, positions."""


@dataclass(frozen=True)
class Band:
    """A task: latitudes first..stop of one field of a unit."""

    place: Place
    hour: int
    """Position in the unit's hours."""
    field: int
    """Position in the unit's fields."""
    first: int
    stop: int


def bands(place: Place) -> list[Band]:
    """All window tasks of a unit; each writes shards of its own."""
    size, height = place.plan.band, place.plan.height
    return [
        Band(place, hour, field, first, min(first + size, height))
        for hour in range(len(place.unit.hours))
        for field in range(place.unit.fields)
        for first in range(0, height, size)
    ]


def write_band(task: Band) -> int:
    """Compute and write one band of a field; gives the number of its latitudes."""
    weights = window_weights(task.place.plan.window_days)
    if task.place.unit.kind == "moments":
        pairs = [mean_and_std(kept[:, 0], kept[:, 1], kept[:, 2], weights) for kept in _strips(task)]
        _write(task, "mean", [mean for mean, _ in pairs])
        _write(task, "std", [std for _, std in pairs])
    elif task.place.unit.kind == "categories":
        dry_amount = DRY_MM[task.place.unit.name]
        pairs = [categories(kept, weights, dry_amount) for kept in _strips(task)]
        _write(task, "dry_fraction", [share for share, _ in pairs], factor=1.0)
        _write(task, "heavy_amount", [amount for _, amount in pairs])
    else:
        probabilities = np.array(task.place.plan.probabilities)
        _write(task, "quantile", [quantiles(kept, weights, probabilities) for kept in _strips(task)])
    return task.stop - task.first


def _strips(task: Band) -> Iterator[Fields]:
    """What was gathered, a few latitudes at a time, [366, kept, point]."""
    files = [np.load(days.path, mmap_mode="r", allow_pickle=False) for days in runs_of_days(task.place)]
    kept, width = files[0].shape[2], files[0].shape[5]
    size = max(_STRIP_BYTES // (4 * _COPIES * DAYS * kept * width), 1)
    for first in range(task.first, task.stop, size):
        rows = slice(first, min(first + size, task.stop))
        strip = np.concatenate([file[task.hour, :, :, task.field, rows] for file in files])
        yield strip.reshape(DAYS, kept, -1)


def _write(task: Band, statistic: Statistic, strips: list[Fields], factor: float | None = None) -> None:
    """Write the strips of one band, [..., 366, point], times `factor`, or in file units."""
    unit, plan = task.place.unit, task.place.plan
    values = np.concatenate(strips, axis=-1) * np.float32(unit.to_file if factor is None else factor)
    array = zarr.open_group(task.place.store, mode="r+")[array_name(unit.name, statistic)]
    assert isinstance(array, zarr.Array)
    level = (unit.levels[task.field],) if unit.levels else ()
    days = (slice(None),) * (values.ndim - 1)
    region = (unit.hours[task.hour], *days, *level, slice(task.first, task.stop), slice(None))
    array[region] = values.reshape(*values.shape[:-1], task.stop - task.first, plan.width)
