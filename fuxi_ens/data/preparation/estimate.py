"""What `prepare` would cost, from a few real times of each variable. Writes nothing but to memory."""

import hashlib
import math
import shutil
import time
from dataclasses import dataclass
from typing import Final

import zarr
from zarr.storage import MemoryStore

from fuxi_ens.cluster import worker_count
from fuxi_ens.config import Config
from fuxi_ens.data.preparation.plan import Plan, PlannedVariable
from fuxi_ens.data.preparation.shard import BLOCK_BYTES, Array, ShardTask, read_shard, regridder
from fuxi_ens.data.preparation.store import codecs, file_count
from fuxi_ens.files import existing_parent
from fuxi_ens.times import label

# A shard in memory: its values, its compressed chunks, and the file they are joined to.
_COPIES_PER_SHARD: Final = 3
_SAMPLE_BYTES: Final = 1 << 24


@dataclass(frozen=True)
class Estimate:
    """Bytes, files and hours of a preparation; sizes and hours extrapolate the first times."""

    times: int
    first_time: str
    last_time: str
    channels: int
    regridded: bool
    decoded_bytes: int
    """Of the fields that are read, uncompressed."""
    disk_bytes: int
    files: int
    shards: int
    hours: float
    workers: int
    memory_bytes_per_task: int
    free_disk_bytes: int

    def in_words(self) -> dict[str, str]:
        """For a table."""
        return {
            "times": f"{self.times}, {self.first_time} to {self.last_time}",
            "channels": f"{self.channels}{', regridded conservatively' if self.regridded else ''}",
            "read, decoded": _size(self.decoded_bytes),
            "written, compressed": f"about {_size(self.disk_bytes)} in {self.files} files",
            "free on that disk": _size(self.free_disk_bytes),
            "time": f"about {_duration(self.hours)} on {self.workers} workers",
            "memory": f"up to {_size(self.memory_bytes_per_task)} for each of them; less with fewer times_per_shard",
        }


def estimate(config: Config, plan: Plan) -> Estimate:
    """Read, regrid and compress the first times of every variable, and multiply; the disk is taken to be fast."""
    # What is opened once per process counts for nothing.
    regrid = regridder(plan.source, plan.grid)
    tasks = [plan.task(variable, 0, _sample_size(plan, variable)) for variable in plan.variables]
    costs = [_cost(plan, task) for task in tasks]
    workers = worker_count(config.dask, config.run.threads)
    return Estimate(
        times=len(plan.times),
        first_time=label(plan.times[0]),
        last_time=label(plan.times[-1]),
        channels=len(plan.channels),
        regridded=regrid is not None,
        decoded_bytes=4 * len(plan.times) * len(plan.channels) * plan.source_points,
        disk_bytes=round(sum(size for size, _ in costs) * len(plan.times)),
        files=file_count(plan),
        shards=plan.shard_count,
        hours=sum(seconds for _, seconds in costs) * len(plan.times) / workers / 3600.0,
        workers=workers,
        memory_bytes_per_task=_memory(plan),
        free_disk_bytes=shutil.disk_usage(existing_parent(plan.target)).free,
    )


def _memory(plan: Plan) -> int:
    shard = 4 * plan.times_per_shard * max(math.prod(plan.shape(variable)) for variable in plan.variables)
    return _COPIES_PER_SHARD * shard + BLOCK_BYTES


def _size(count: int) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def _sample_size(plan: Plan, variable: PlannedVariable) -> int:
    """One time of a fine grid; of a coarse one more, or the time that each task needs to begin would be multiplied."""
    of_one_time = 4 * max(plan.source_points * len(variable.channels), math.prod(plan.shape(variable)))
    return min(max(_SAMPLE_BYTES // of_one_time, 1), plan.times_per_shard)


def _cost(plan: Plan, task: ShardTask) -> tuple[float, float]:
    """Bytes on disk and seconds of one time of one variable."""
    started = time.monotonic()
    values = read_shard(task)
    size = _stored_bytes(plan, values)
    # The checksum of a shard is taken of its compressed bytes; those of any other numbers take as long.
    hashlib.sha256(values.tobytes()[:size])
    count = len(task.positions)
    return size / count, (time.monotonic() - started) / count


def _stored_bytes(plan: Plan, values: Array) -> int:
    array = zarr.create_array(
        MemoryStore(),
        shape=values.shape,
        dtype=values.dtype,
        chunks=(1, *values.shape[1:]),
        shards=values.shape,
        compressors=codecs(plan.settings),
    )
    metadata = array.nbytes_stored()
    array[...] = values
    return int(array.nbytes_stored() - metadata)


def _duration(hours: float) -> str:
    """In the unit that reads best."""
    for unit, size in (("days", 24.0), ("h", 1.0), ("min", 1 / 60)):
        if hours >= 2 * size:
            return f"{hours / size:.3g} {unit}"
    return f"{hours * 3600:.2g} s"
