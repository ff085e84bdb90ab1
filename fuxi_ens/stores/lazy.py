"""A variable that xarray reads: GRIB, NetCDF."""

import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.errors import StoreError
from fuxi_ens.stores.source import Target, Task
from fuxi_ens.stores.stored import OpenStore
from fuxi_ens.times import label

# The libraries behind NetCDF and GRIB are not safe to call from two threads.
_LOCK = threading.Lock()


def _failures() -> tuple[type[Exception], ...]:
    """What a damaged file raises; ecCodes' errors are no OSError, and are there only where it is loaded."""
    grib = sys.modules.get("gribapi.errors")
    return (OSError, EOFError, RuntimeError, ValueError, *((grib.GribInternalError,) if grib else ()))


class LazySource:
    """See `source.Source`."""

    remote = False

    def __init__(self, store: OpenStore, name: str, levels: Sequence[int | None], factor: float) -> None:
        array = store.dataset[name]
        if levels[0] is not None:
            array = array.isel(level=[level for level in levels if level is not None])
        extra = set(map(str, array.dims)) - {"time", "level", "latitude", "longitude"}
        if extra:
            raise StoreError(f"{store.source}: {name} has the further dimensions {sorted(extra)}; select one of each")
        self._array, self._factor, self._has_levels = array, np.float32(factor), levels[0] is not None
        self._store, self._name = store, name
        self.cost = 4 * array.size // max(array.sizes["time"], 1)

    def tasks(self, targets: Sequence[Target]) -> Iterator[Task]:
        """See Source."""
        return ((self.cost, partial(self._fill, target)) for target in targets)

    def stored_bytes(self, positions: NDArray[np.intp]) -> NDArray[np.int64]:
        """See Source."""
        return np.full((len(positions), self._array.sizes.get("level", 1)), -1)

    def _fill(self, target: Target) -> None:
        field = self._array.isel(time=target.position)
        try:
            with _LOCK:
                values = field.transpose(..., "latitude", "longitude").values
        except _failures() as error:
            when = label(self._store.dataset["time"].values[target.position])
            raise StoreError(f"{self._store.source}: cannot read {self._name} at {when} ({error})") from error
        np.multiply(values, self._factor, out=target.out if self._has_levels else target.out[0], casting="same_kind")
