"""Fields of a few times read and described: what a worker of the audit does. Damage is described too, never raised."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.channels import STATIC_LAND_SEA_MASK, STATIC_OROGRAPHY, channel
from fuxi_ens.data.plausible import Finding, examine
from fuxi_ens.data.plausible_finding import area_mean
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import area_weights
from fuxi_ens.stores import Fields, OpenStore, open_store

_lock = threading.Lock()


@dataclass(frozen=True)
class Inspection:
    """Positions on the stored time axis to look at; travels to workers, which open the store once each."""

    source: str
    channels: tuple[str, ...]
    positions: tuple[int, ...]
    threads: int
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """One for each audit, so that none is served a store that was opened before it was mended."""


@dataclass(frozen=True)
class Seen:
    """What was seen at one position, by channel in the order asked for."""

    position: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    """Area means of the points that have a value; all three are NaN where none has."""
    missing: NDArray[np.float64]
    """Share of the points."""
    damage: dict[str, str]
    """By channel: why its chunk could not be read."""
    findings: tuple[Finding, ...]


def inspect(task: Inspection) -> list[Seen]:
    """Read the fields of a task and describe them."""
    with _lock:
        reader = _open(task.source, task.channels, task.threads, task.key)
    return [reader.look(position) for position in task.positions]


class _Reader:
    """An open store, its static fields, and readers of it."""

    def __init__(self, source: str, channels: tuple[str, ...], threads: int) -> None:
        self._store, self._channels, self._threads = open_store(source), channels, threads
        self._fields = Fields(self._store, channels, threads=threads)
        self._latitude = self._store.dataset["latitude"].values
        self._longitude = self._store.dataset["longitude"].values
        self._static = dict(static_of(self._store))
        self._frame = np.empty((1, len(channels), *self._fields.shape), np.float32)

    def look(self, position: int) -> Seen:
        """Describe one position; damaged channels are missing everywhere."""
        with _FRAME_LOCK:
            damage = self._read(position)
            return self._describe(position, self._frame[0], damage)

    def _read(self, position: int) -> dict[str, str]:
        try:
            self._fields.read_into([position], self._frame)
        except StoreError:
            return self._read_each(position)
        return {}

    def _read_each(self, position: int) -> dict[str, str]:
        """Variable by variable, so that what is not damaged is seen."""
        damage = {}
        for first, names in _groups(self._channels):
            fields = Fields(self._store, names, threads=self._threads)
            part = self._frame[:, first : first + len(names)]
            try:
                fields.read_into([position], part)
            except StoreError as error:
                part.fill(np.nan)
                damage |= dict.fromkeys(names, str(error))
        return damage

    def _describe(self, position: int, frame: NDArray[np.float32], damage: dict[str, str]) -> Seen:
        weights = area_weights(self._latitude)
        numbers = np.full((4, len(frame)), np.nan)
        for i, values in enumerate(frame):
            there = np.isfinite(values)
            share = float(there.mean())
            numbers[3, i] = 1.0 - share
            if share:
                values[~there] = np.nan
                known = values if share == 1.0 else values[there]
                numbers[:3, i] = known.min(), known.max(), area_mean(values, weights)
        when = self._fields.times[position]
        # A field of one value is a fill value; it would be called a wrong unit.
        told = [name for name, low, high in zip(self._channels, numbers[0], numbers[1], strict=True) if low < high]
        keep = [self._channels.index(name) for name in told]
        whole = frame if len(keep) == len(frame) else frame[keep]
        findings = examine(
            whole, tuple(told), self._latitude, self._longitude, when=when, static=self._static
        )
        return Seen(position, *numbers, damage, findings)


_FRAME_LOCK = threading.Lock()


@lru_cache(maxsize=2)
def _open(source: str, channels: tuple[str, ...], threads: int, key: str) -> _Reader:
    return _Reader(source, channels, threads)


def static_of(store: OpenStore) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Orography and land-sea mask as far as the store has them without missing points."""
    for name in (STATIC_OROGRAPHY, STATIC_LAND_SEA_MASK):
        if name not in store.dataset:
            continue
        array = store.dataset[name]
        # Some stores repeat static fields in time, and their time axis begins before or ends after the data.
        times = (0, array.sizes["time"] // 2, -1) if "time" in array.dims else (None,)
        for time in times:
            values = (array if time is None else array.isel(time=time)).transpose("latitude", "longitude").values
            if np.isfinite(values).all():
                yield name, values
                break


def _groups(channels: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Channels of one variable with the place of the first; they lie in the same chunks."""
    first = 0
    while first < len(channels):
        short = channel(channels[first]).variable.short
        last = first
        while last < len(channels) and channel(channels[last]).variable.short == short:
            last += 1
        yield first, channels[first:last]
        first = last
