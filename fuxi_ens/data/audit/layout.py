"""What a store says about itself: channels, extent, and how its variables lie on disk."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.channels import ACCUMULATION_HOURS, CHANNELS_78, Variable, channel
from fuxi_ens.data.audit.report import Extent, Problem, VariableLayout
from fuxi_ens.errors import StoreError
from fuxi_ens.stores import OpenStore, StoredArray
from fuxi_ens.times import Times, hours, label


def channels_of(store: OpenStore) -> tuple[str, ...]:
    """The model's channels that a store holds."""
    dataset = store.dataset
    names = []
    for name in CHANNELS_78:
        stored = stored_name(store, channel(name).variable)
        level = channel(name).level
        has_level = stored is not None and level is not None and "level" in dataset[stored].dims
        if stored is not None and (level is None or (has_level and level in dataset["level"].values)):
            names.append(name)
    return tuple(names)


def stored_name(store: OpenStore, variable: Variable) -> str | None:
    """The name on disk: the 6-hour sum if there is one, else the hourly accumulation."""
    return next((name for name in (variable.file_name, variable.name) if name in store.dataset), None)


def is_summed(store: OpenStore, variable: Variable) -> bool:
    """Whether the 6-hour sum must be made from hourly values."""
    return variable.accumulated and variable.file_name not in store.dataset


def summable(store: OpenStore, names: tuple[str, ...], times: Times) -> tuple[tuple[str, ...], list[Problem]]:
    """The channels that can be read: hourly accumulations need an axis without gaps and repetitions."""
    summed = tuple(name for name in names if is_summed(store, channel(name).variable))
    if not summed or (len(times) >= ACCUMULATION_HOURS and np.all(np.diff(times) == hours(1))):
        return names, []
    detail = (
        f"{', '.join(summed)} are sums over the stored step, and the times are not hourly without gaps, so that 6-hour "
        "sums cannot be made; not looked at"
    )
    readable = tuple(name for name in names if name not in summed)
    if not readable:
        raise StoreError(f"{store.source}: {detail}")
    return readable, [Problem("wrong", "accumulations", detail)]


def extent(store: OpenStore, times: Times, step: np.timedelta64) -> Extent:
    """What the store covers in time and space."""
    dataset = store.dataset
    levels = dataset["level"].values.tolist() if "level" in dataset.dims else []
    return Extent(
        times=len(times),
        first=label(times.min()),
        last=label(times.max()),
        step_hours=float(step / hours(1)),
        latitude=_span(dataset["latitude"].values),
        longitude=_span(dataset["longitude"].values),
        levels=tuple(int(level) for level in levels),
    )


def _span(values: NDArray[np.floating]) -> str:
    return f"{len(values)} from {values[0]:g} to {values[-1]:g}"


def layouts(store: OpenStore) -> Iterator[VariableLayout]:
    """How the variables of the model lie on disk."""
    names = dict.fromkeys(stored_name(store, channel(name).variable) for name in channels_of(store))
    for name in names:
        assert name is not None, "channels_of names stored variables only"
        array = store.dataset[name]
        layout = VariableLayout(
            name, str(array.dtype), str(array.attrs.get("units", "")), " ".join(map(str, array.dims))
        )
        yield _on_disk(layout, store.arrays[name]) if name in store.arrays else layout


def _on_disk(layout: VariableLayout, stored: StoredArray) -> VariableLayout:
    array = stored.array
    packed = "" if (stored.scale, stored.offset) == (1.0, 0.0) else " packed"
    return replace(
        layout,
        dtype=f"{array.dtype}{packed}",
        units=str(array.attrs.get("units", "")),
        dims=" ".join(stored.dims),
        chunk="x".join(map(str, array.chunks)),
        shard="x".join(map(str, array.shards or ())),
        chunk_bytes=int(np.prod(array.chunks)) * array.dtype.itemsize,
    )
