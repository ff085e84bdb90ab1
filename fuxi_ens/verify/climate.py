"""The climatology by day of the year at a valid time, for families that need it; each field is read once.

Not to be mixed up with `climatology`, the reference ensemble.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fuxi_ens.stores.climatology import ClimatologyStore
from fuxi_ens.times import Times
from fuxi_ens.verify.points import Field


class FieldCache:
    """Fields by key, the most recently used ones up to `max_bytes`; threads may share it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._fields: OrderedDict[Hashable, Field] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], Field]) -> Field:
        """The field of `key`; `read` is called when it is not there, perhaps by two threads at once."""
        return self.get_all([key], lambda _: [read()])[0]

    def get_all(self, keys: Sequence[Hashable], read: Callable[[list[int]], Iterable[Field]]) -> list[Field]:
        """The fields of `keys`; `read` gives those at the positions that are not there, all at once."""
        with self._lock:
            found = {key: self._fields[key] for key in keys if key in self._fields}
            for key in found:
                self._fields.move_to_end(key)
        absent = [position for position, key in enumerate(keys) if key not in found]
        if absent:
            for position, fresh in zip(absent, read(absent), strict=True):
                found[keys[position]] = fresh
                self._keep(keys[position], fresh)
        return [found[key] for key in keys]

    def _keep(self, key: Hashable, fresh: Field) -> None:
        fresh.flags.writeable = False
        with self._lock:
            if key not in self._fields:
                self._bytes += fresh.nbytes
                self._fields[key] = fresh
            while self._bytes > self._max_bytes and len(self._fields) > 1:
                self._bytes -= self._fields.popitem(last=False)[1].nbytes


@dataclass(frozen=True)
class Climate:
    """An open climatology with its cache."""

    store: ClimatologyStore
    cache: FieldCache = field(repr=False, compare=False)

    def at(self, name: str, valid_time: np.datetime64) -> "ClimateAt":
        """Its fields of one scored name, which are read when asked for."""
        return ClimateAt(self, name, valid_time)


@dataclass(frozen=True, slots=True)
class ClimateAt:
    """See `block.ClimatologyAt`."""

    climate: Climate
    name: str
    valid_time: np.datetime64

    def mean(self) -> Field:
        """Mean, [latitude, longitude] in file units."""
        return self._field("mean", lambda: self.climate.store.mean(self.name, self._times)[0])

    def std(self) -> Field:
        """Standard deviation, like `mean`."""
        return self._field("std", lambda: self.climate.store.std(self.name, self._times)[0])

    def quantile(self, q: float) -> Field:
        """Quantile, like `mean`."""
        return self._field(q, lambda: self.climate.store.quantile(self.name, q, self._times)[0])

    def heavy_amount(self) -> Field:
        """Amount of precipitation from which a case is heavy, like `mean`; NaN where no case is wet."""
        return self._field("heavy_amount", lambda: self.climate.store.heavy_amount(self.name, self._times)[0])

    def dry_fraction(self) -> Field:
        """Share of dry cases of the year, [latitude, longitude]."""
        return self.climate.cache.get(
            (self.name, "dry_fraction"), lambda: self.climate.store.dry_fraction(self.name).astype(np.float32)
        )

    @property
    def _times(self) -> Times:
        return np.array([self.valid_time])

    def _field(self, statistic: str | float, read: Callable[[], Field]) -> Field:
        date = pd.Timestamp(self.valid_time)
        return self.climate.cache.get((self.name, statistic, date.day_of_year, date.hour), read)
