"""How the workers of a streaming pass come to the analysis: each process opens it once for itself."""

import threading
import uuid
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from fuxi_ens.cluster import reader_threads
from fuxi_ens.config import Config
from fuxi_ens.data.era5 import Analysis, open_analysis
from fuxi_ens.grid import LatLonGrid

_lock = threading.Lock()


@dataclass(frozen=True)
class Reading:
    """What opens the analysis; an open store cannot travel to another process."""

    store: str
    channels: tuple[str, ...]
    grid: LatLonGrid
    step_size: np.timedelta64
    threads: int
    skip_list: Path | None
    made_from: tuple[str, ...]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Another for each pass, so that none is served a store that was opened before it was rewritten."""

    @classmethod
    def of(cls, config: Config, channels: tuple[str, ...]) -> "Reading":
        """Reading `channels` of data.store as the config describes it."""
        data = config.data
        made_from = (config.prepare.source,) if config.prepare else ()
        threads = reader_threads(config.dask, data.read_threads, data.store)
        return cls(data.store, channels, config.model.grid, data.step_size, threads, data.skip_list, made_from)

    def open(self) -> Analysis:
        """The analysis, opened at the first call in this process. Raises StoreError."""
        with _lock:
            return _open(self)


@lru_cache(maxsize=4)
def _open(reading: Reading) -> Analysis:
    return open_analysis(
        reading.store,
        reading.channels,
        reading.grid,
        reading.step_size,
        threads=reading.threads,
        skip_list=reading.skip_list,
        made_from=reading.made_from,
    )
