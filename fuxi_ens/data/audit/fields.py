"""Fields of a few times read and described: what a worker of the audit does. Damage is described too, never raised."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.channels import STATIC_LAND_SEA_MASK, STATIC_OROGRAPHY, channel
from fuxi_ens.data.plausible import Finding, examine
from fuxi_ens.data.plausible.finding import area_mean
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import area_weights
from fuxi_ens.stores import Fields, OpenStore, open_store

Frame = NDArray[np.float32]

_BLOCK_BYTES: Final = 256 * 2**20
_MOST_POSITIONS: Final = 64
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

    def parts(self, size: int) -> "Iterator[Inspection]":
        """The same in parts of at most `size` positions."""
        for start in range(0, len(self.positions), size):
            yield replace(self, positions=self.positions[start : start + size])


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
    return reader.look(np.array(task.positions))


def positions_per_task(fields: Fields) -> int:
    """How many positions are read together, so that chunks of several times are not decoded for each of them."""
    frame_bytes = 4 * len(fields.channels) * int(np.prod(fields.shape))
    return int(np.clip(_BLOCK_BYTES // frame_bytes, 1, _MOST_POSITIONS))


class _Reader:
    """An open store, its static fields, and readers of it."""

    def __init__(self, source: str, channels: tuple[str, ...], threads: int) -> None:
        self._store, self._channels, self._threads = open_store(source), channels, threads
        self._fields = Fields(self._store, channels, threads=threads)
        self._latitude = self._store.dataset["latitude"].values
        self._longitude = self._store.dataset["longitude"].values
        self._static = dict(static_of(self._store))

    def look(self, positions: NDArray[np.intp]) -> list[Seen]:
        """Describe some positions; damaged channels are missing everywhere."""
        frames = np.empty((len(positions), len(self._channels), *self._fields.shape), np.float32)
        damage: list[dict[str, str]] = [{} for _ in positions]
        try:
            self._fields.read_into(positions, frames)
        except StoreError:
            damage = [self._read_each(int(position), frames[i : i + 1]) for i, position in enumerate(positions)]
        described = zip(positions.tolist(), frames, damage, strict=True)
        return [self._describe(position, frame, harm) for position, frame, harm in described]

    def _read_each(self, position: int, frame: Frame) -> dict[str, str]:
        """Variable by variable, so that what is not damaged is seen."""
        damage: dict[str, str] = {}
        for first, names in _groups(self._channels):
            fields = Fields(self._store, names, threads=self._threads)
            part = frame[:, first : first + len(names)]
            try:
                fields.read_into([position], part)
            except StoreError as error:
                part.fill(np.nan)
                damage |= dict.fromkeys(names, str(error))
        return damage

    def _describe(self, position: int, frame: Frame, damage: dict[str, str]) -> Seen:
        weights = area_weights(self._latitude)
        low, high, mean, missing = np.full((4, len(frame)), np.nan)
        for i, values in enumerate(frame):
            there = np.isfinite(values)
            missing[i] = 1.0 - float(there.mean())
            if missing[i] < 1.0:
                values[~there] = np.nan
                low[i], high[i] = np.nanmin(values), np.nanmax(values)
                mean[i] = area_mean(values, weights)
        # A field of one value is a fill value; as a finding of physics it would be called a wrong unit.
        varies = np.flatnonzero(low < high)
        told = tuple(self._channels[i] for i in varies.tolist())
        findings = examine(
            frame if len(varies) == len(frame) else frame[varies],
            told,
            self._latitude,
            self._longitude,
            when=self._fields.times[position],
            static=self._static,
        )
        return Seen(position, low, high, mean, missing, damage, findings)


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
