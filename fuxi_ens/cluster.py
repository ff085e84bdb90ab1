"""Dask workers for streaming passes and verification: threads of this process, processes of this node, or SLURM jobs.

A pass hands out whole blocks of work (a shard, a block of times) and collects what comes back; how the workers came to
be is decided here and nowhere else.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import dask
from dask.utils import parse_bytes
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed

from fuxi_ens.config import DaskConfig
from fuxi_ens.cores import available_cores
from fuxi_ens.errors import UserError
from fuxi_ens.stores.remote import is_remote

Item = TypeVar("Item")
Result = TypeVar("Result")

# dask-jobqueue puts these words into a job script and a command line; nothing in them may end a line or a word.
_PLAIN = re.compile(r"[\w.,:=@%/+\[\]*-]+")
# A worker's failure reaches the user as the error of its task; Dask would print each one a second time.
# Dask always listens for a browser; with no pages to serve, and where nobody else can knock.
_NO_DASHBOARD = "127.0.0.1:0"
_LOG_LEVEL = logging.CRITICAL

THREADS_THAT_WAIT = 4
"""For each core, where reading waits for a network."""


def worker_count(config: DaskConfig, threads: int) -> int:
    """Tasks that run at the same time; `threads` 0 takes all cores the job was given."""
    threads = threads or available_cores()
    return threads if config.cluster == "threads" else (config.workers or threads) * config.threads_per_worker


def reader_threads(config: DaskConfig, wanted: int, source: str) -> int:
    """Threads of the reader that all tasks of one worker share; 0 leaves the number to the reader.

    Workers that are processes divide the cores among them: a reader for all cores in each would be too many.
    """
    if wanted or config.cluster == "threads":
        return wanted
    return config.threads_per_worker * (THREADS_THAT_WAIT if is_remote(source) else 1)


@contextmanager
def dask_client(config: DaskConfig, threads: int) -> Iterator[Client]:
    """A client of the workers that `config` describes, which end with the block. No dashboard, no open port for one.

    Raises UserError when the workers cannot be had as they are described.
    """
    # Workers are plain threads of arithmetic; each of them starting a pool of its own would only fight for the cores.
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    settings = {
        "distributed.nanny.pre-spawn-environ": one_thread,
        "distributed.worker.profile.enabled": False,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with (
        dask.config.set(settings),
        _quiet(),
        _cluster(config, threads) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Dask's account of itself, which would bury the progress of a batch job."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(_LOG_LEVEL)
    try:
        yield
    finally:
        logger.setLevel(level)


def run_tasks(
    client: Client, function: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int
) -> Iterator[tuple[Item, Result]]:
    """Items with `function(item)`, in the order in which they finish; at most `in_flight` are submitted at a time.

    Function, items and results are pickled, even for threads of this process: pass functions of a module, and what
    names a store instead of what holds it open. The first task that fails raises its own error here, and those not yet
    begun are dropped. Nothing is retried: readers retry what can be mended. Raises UserError when workers die again and
    again.
    """
    waiting = iter(items)
    running: dict[Future[Any], Item] = {}
    finished = as_completed(loop=client.loop)

    def submit_next() -> None:
        for item in waiting:
            # A key of its own for every task: a result is never taken from an equal call before.
            future = client.submit(function, item, pure=False, retries=0)
            running[future] = item
            finished.add(future)
            return

    try:
        for _ in range(max(in_flight, 1)):
            submit_next()
        while running:
            future = next(finished)
            item, result = running.pop(future), _result(future)
            # The worker may forget the result, and its place is free before the caller is done with it.
            future.release()
            submit_next()
            yield item, result
    finally:
        client.cancel(list(running))


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        raise UserError(
            f"Dask workers died again and again ({error}); give them more memory with dask.memory, or let fewer tasks "
            "share it with dask.threads_per_worker 1"
        ) from error


def _cluster(config: DaskConfig, threads: int) -> Any:
    if config.cluster == "slurm":
        cluster = _slurm(config)
        cluster.scale(jobs=config.workers)
        return cluster
    tasks, processes = worker_count(config, threads), config.cluster == "processes"
    return LocalCluster(
        n_workers=tasks // config.threads_per_worker if processes else 1,
        threads_per_worker=config.threads_per_worker if processes else tasks,
        processes=processes,
        # A thread's memory is that of this process, and a limit would pause it for what others hold.
        memory_limit=_bytes(config.memory) if processes else None,
        dashboard_address=_NO_DASHBOARD,
        worker_dashboard_address=_NO_DASHBOARD,
        scheduler_kwargs={"dashboard": False},
        silence_logs=_LOG_LEVEL,
    )


def _slurm(config: DaskConfig) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise UserError(f"dask.cluster slurm needs dask-jobqueue: pip install 'fuxi-ens[slurm]' ({error})") from error
    slurm = config.slurm
    assert slurm is not None, "the config refuses cluster: slurm without its section"
    _refuse_shell(slurm.model_dump(exclude_none=True))
    return SLURMCluster(
        cores=config.threads_per_worker,
        processes=1,
        memory=f"{_bytes(config.memory)}B",
        walltime=slurm.walltime,
        queue=slurm.queue,
        account=slurm.account,
        interface=slurm.interface,
        job_extra_directives=list(slurm.directives),
        scheduler_options={"dashboard_address": _NO_DASHBOARD, "dashboard": False},
        silence_logs=_LOG_LEVEL,
    )


def _refuse_shell(words: dict[str, Any]) -> None:
    for key, value in words.items():
        for word in value if isinstance(value, tuple | list) else [value]:
            if not _PLAIN.fullmatch(word):
                raise UserError(f"dask.slurm.{key} {word!r} must be one word of letters, digits and .,:=@%/+[]*-_")


def _bytes(memory: str) -> int:
    try:
        return int(parse_bytes(memory))
    except ValueError as error:
        raise UserError(f"dask.memory {memory!r} is no size; write it like 8GiB") from error
