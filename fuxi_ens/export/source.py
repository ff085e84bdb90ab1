"""What is exported: the init times, lead times, members and channels that were asked for, read block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.channels import CHANNELS_78, LEVELS_13, VARIABLES, Variable, channel, in_tensor_order, is_channel
from fuxi_ens.errors import UserError
from fuxi_ens.times import Leads, Times, hours, label
from fuxi_ens.verify.open import ForecastStore


@dataclass(frozen=True)
class Wanted:
    """What a user asked for; None is everything the store has."""

    init_times: Times | None = None
    members: Sequence[int] | None = None
    lead_hours: Sequence[int] | None = None
    channels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Source:
    """A store and the part of it that is exported."""

    store: ForecastStore
    init_times: Times
    members: NDArray[np.int64]
    """Numbers as the store has them."""
    leads: Leads
    channels: tuple[str, ...]
    """In tensor order."""

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Variables of the channels, in tensor order."""
        return tuple(dict.fromkeys(channel(name).variable for name in self.channels))

    @property
    def control(self) -> int | None:
        """Number of the unperturbed member, None if the store names none."""
        return self.store.control

    def levels(self, variable: Variable) -> list[int]:
        """Pressure levels in hPa, from the top down; empty for a surface variable."""
        chosen = [channel(name) for name in self.channels]
        return [item.level for item in chosen if item.variable is variable and item.level is not None]

    def block(self, variable: Variable, init_time: np.datetime64, lead: np.timedelta64) -> xr.DataArray:
        """One variable at one lead time in file units, lazily, [number, (level,) latitude, longitude]."""
        chosen = self.store.dataset[variable.file_name].sel(init_time=init_time, lead_time=lead)
        rows = np.flatnonzero(np.isin(self.store.numbers, self.members))
        chosen = chosen.isel(number=_as_slice(rows))
        levels = self.levels(variable)
        if levels:
            chosen = chosen.isel(level=_as_slice(chosen.indexes["level"].get_indexer(pd.Index(levels))))
        order = ("number", *(["level"] if levels else []), "latitude", "longitude")
        # A chunk of Dask's, because xarray transposes what it has yet to read point by point, at 20 times the memory.
        return chosen.reset_coords(drop=True).chunk().transpose(*order)


def _as_slice(positions: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """Evenly spaced positions as a slice: zarr reads lists of positions with many times the memory."""
    first, step = int(positions[0]), int(positions[1] - positions[0]) if len(positions) > 1 else 1
    if step > 0 and np.array_equal(positions, first + step * np.arange(len(positions))):
        return slice(first, int(positions[-1]) + 1, step)
    return positions


def choose(store: ForecastStore, wanted: Wanted) -> Source:
    """The part of the store that was asked for. Raises UserError for what it does not have."""
    init_times = _init_times(store, wanted.init_times)
    leads = _leads(store, wanted.lead_hours)
    channels = wanted.channels or _channels_in(store, init_times[0], leads[-1])
    unknown = [name for name in channels if not is_channel(name)]
    if unknown:
        raise UserError(f"--channels {unknown[0]!r} is no channel; they are {CHANNELS_78[0]} ... {CHANNELS_78[-1]}")
    return Source(
        store.require(channels), init_times, _members(store, wanted.members), leads, in_tensor_order(channels)
    )


def _init_times(store: ForecastStore, wanted: Times | None) -> Times:
    known = store.init_times
    if wanted is None:
        return known
    unknown = wanted[~np.isin(wanted, known)]
    if unknown.size:
        raise UserError(
            f"--init {label(unknown[0])} is not in {store.source}; it has {len(known)} init times from "
            f"{label(known[0])} to {label(known[-1])}"
        )
    return np.unique(wanted)


def _leads(store: ForecastStore, wanted: Sequence[int] | None) -> Leads:
    known = store.lead_times
    if wanted is None:
        return known
    unknown = [count for count in wanted if hours(count) not in known]
    if unknown:
        shown = ", ".join(f"{lead / hours(1):g}" for lead in known)
        raise UserError(f"--leads: {store.source} has no lead time of {unknown[0]} h; it has {shown}")
    return np.array([hours(count) for count in wanted])


def _members(store: ForecastStore, wanted: Sequence[int] | None) -> NDArray[np.int64]:
    known = store.numbers
    if wanted is None:
        return known
    unknown = np.setdiff1d(wanted, known)
    if unknown.size:
        raise UserError(
            f"--members: {store.source} has no member {unknown[0]}; it has {len(known)}, from {known[0]} to {known[-1]}"
        )
    return known[np.isin(known, wanted)]


def _channels_in(store: ForecastStore, init_time: np.datetime64, lead: np.timedelta64) -> tuple[str, ...]:
    """Our channels in the store. Levels share an axis, and a variable is NaN on those that were not asked for."""
    found = []
    for variable in VARIABLES.values():
        if variable.file_name not in store.dataset:
            continue
        array = store.dataset[variable.file_name]
        if "level" not in array.dims:
            found.append(variable.short)
            continue
        first = array.sel(init_time=init_time, lead_time=lead).isel(number=0)
        filled = first.notnull().any(("latitude", "longitude"))
        levels = array["level"].values[filled.values].tolist()
        found += [f"{variable.short}{level}" for level in LEVELS_13 if level in levels]
    if not found:
        raise UserError(f"{store.source} holds no channel that is known here, only {sorted(map(str, store.dataset))}")
    return tuple(found)
