"""`data prepare`: any store that can be opened becomes the training store, on Dask, so that a kill costs a few shards.

A shard is one file and has one writer. A run that is given again goes on where the one before it ended, and the bytes
it leaves do not depend on how often it was interrupted, on the workers, or on the order in which they finished.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from fuxi_ens import channels as vocabulary
from fuxi_ens.cluster import dask_client, run_tasks, worker_count
from fuxi_ens.config import Config
from fuxi_ens.data.plausible import require_plausible
from fuxi_ens.data.preparation.plan import Plan
from fuxi_ens.data.preparation.shard import ShardRecord, ShardTask, opened, refuse_missing, regridder, write_shard
from fuxi_ens.data.preparation.store import TrainingStore, create_store
from fuxi_ens.data.static import read_static
from fuxi_ens.progress import Advance
from fuxi_ens.provenance import provenance
from fuxi_ens.stores.fields import Fields

_STATIC = {vocabulary.STATIC_OROGRAPHY: "m**2 s**-2", vocabulary.STATIC_LAND_SEA_MASK: "1"}


def prepare(config: Config, plan: Plan, advance: Advance) -> int:
    """Write what is not finished of the training store; returns the number of shards that this run wrote.

    `advance` is told the shards that are done. Raises UserError when the source lacks something or looks wrong;
    OSError, such as for a full disk, passes through.
    """
    if not plan.target.exists():
        _require_plausible_source(plan)
        create_store(plan, _static_fields(plan), _attributes(config, plan))
    store = TrainingStore(plan)
    if store.is_complete and not _left(plan, store.finished()):
        advance(plan.shard_count, "finished before")
        return 0
    with store.writing():
        finished = store.finished()
        left = _left(plan, finished)
        advance(plan.shard_count - len(left), "finished before")
        for record in _written(config, left, advance):
            store.note(record)
            finished[record.path] = record
        store.complete(finished)
    return len(left)


def _left(plan: Plan, finished: dict[str, ShardRecord]) -> list[ShardTask]:
    return [task for task in plan.tasks() if task.path not in finished]


def _written(config: Config, tasks: list[ShardTask], advance: Advance) -> Iterator[ShardRecord]:
    """Records of shards as they get finished."""
    if not tasks:
        return
    started, done = time.monotonic(), 0
    with dask_client(config.dask, config.run.threads) as client:
        # One task waits behind each that runs; the memory of a shard is taken only when its task begins.
        in_flight = 2 * worker_count(config.dask, config.run.threads)
        for task, record in run_tasks(client, write_shard, tasks, in_flight=in_flight):
            yield record
            done += task.source_bytes
            advance(1, f"{done / 1e6 / (time.monotonic() - started):.3g} MB/s")


def _require_plausible_source(plan: Plan) -> None:
    """Physics, not labels, must say that the source is what it claims to be; its first frame is looked at."""
    fields = Fields(opened(plan.source), plan.channels, threads=plan.threads)
    frames = fields.read(plan.positions[:1])
    refuse_missing(frames, plan.times[:1], plan.channels, plan.source)
    frame, regrid = frames[0], regridder(plan.source, plan.grid)
    require_plausible(regrid(frame) if regrid else frame, plan.channels, plan.grid, plan.times[0], plan.source)


def _static_fields(plan: Plan) -> xr.Dataset:
    """Orography and land-sea mask on the target grid."""
    regrid = regridder(plan.static_source, plan.grid)
    dataset = opened(plan.static_source).dataset
    fields = {name: read_static(dataset, name, plan.static_source).astype(np.float32) for name in _STATIC}
    return xr.Dataset(
        {
            name: (("latitude", "longitude"), regrid(field) if regrid else field, {"units": _STATIC[name]})
            for name, field in fields.items()
        }
    )


def _attributes(config: Config, plan: Plan) -> dict[str, Any]:
    assert config.prepare is not None, "a plan needs the section"
    periods = config.prepare.periods or (*config.data.train, *config.data.validation, *config.data.test)
    return {
        **provenance(config, config.prepare),
        "analysis_store": plan.source,
        "periods": ", ".join(f"{p.start.isoformat()}..{p.end.isoformat()}" for p in periods),
    }
