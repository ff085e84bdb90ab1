"""What is in a store, and which of it training must not touch.

The fast audit judges the time axis, the attributes and the sizes of all chunks, and reads some times: evenly spread,
both ends, and those whose chunks are conspicuously small. The full audit reads all times, on Dask.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.channels import ACCUMULATION_HOURS, CHANNELS_78, channel
from fuxi_ens.cluster import dask_client, reader_threads, run_tasks, worker_count
from fuxi_ens.config import DaskConfig
from fuxi_ens.data.audit.axis import AxisReport, audit_axis
from fuxi_ens.data.audit.census import Census, take_census
from fuxi_ens.data.audit.fields import Inspection, Seen, inspect, positions_per_task
from fuxi_ens.data.audit.layout import channels_of, extent, is_summed, layouts, summable
from fuxi_ens.data.audit.manifest import audit_manifest, shards_of
from fuxi_ens.data.audit.observations import Observations, names_of
from fuxi_ens.data.audit.report import Audit, Problem
from fuxi_ens.errors import StoreError
from fuxi_ens.progress import progress
from fuxi_ens.stores import Fields, OpenStore, open_store
from fuxi_ens.times import Times

_MOST_SUSPECTS: Final = 200
"""Small chunks that the fast audit reads."""


@dataclass(frozen=True)
class AuditOptions:
    """How closely to look."""

    full: bool = False
    samples: int = 24
    """Times that the fast audit reads, evenly spread."""
    threads: int = 0
    """Threads that fetch and decode; 0 takes all cores."""
    dask: DaskConfig = field(default_factory=DaskConfig)
    """Workers of the full audit."""


def audit(source: str, channels: tuple[str, ...] | None, options: AuditOptions) -> Audit:
    """Look at a store; `channels` None means all that it holds. Raises StoreError when nothing in it is usable."""
    store = open_store(source)
    found = channels_of(store)
    absent = sorted(set(channels or ()) - set(found))
    if not found or "time" not in store.dataset.dims or absent:
        raise StoreError(_nothing_usable(store, absent))
    times: Times = store.dataset["time"].values.astype("datetime64[ns]")
    axis = audit_axis(times, store.dataset.attrs, store.source)
    readable, unsummable = summable(store, channels or found, times)
    axis.problems += unsummable
    return _Auditor(source, store, readable, options, axis).run(found)


class _Auditor:
    """One audit on its way."""

    def __init__(
        self, source: str, store: OpenStore, channels: tuple[str, ...], options: AuditOptions, axis: AxisReport
    ) -> None:
        self._source, self._store, self._channels, self._options = source, store, channels, options
        self._fields = Fields(store, channels, threads=options.threads)
        self._times = self._fields.times
        self._problems, self._skip = axis.problems, axis.skip
        self._step = axis.step
        self._inside = axis.inside.copy()
        summed = tuple(name for name in channels if is_summed(store, channel(name).variable))
        if summed:
            self._leave_out_first_sums(summed)
        self._looked_at: list[str] = []

    def _leave_out_first_sums(self, summed: tuple[str, ...]) -> None:
        when = self._times[: ACCUMULATION_HOURS - 1]
        why = f"the 6-hour sums of {names_of(summed)} need hours before the first"
        self._problems.append(Problem.at("skip", "first hours", why, when))
        self._skip |= {time: self._skip.get(time, why) for time in when}
        self._inside[: ACCUMULATION_HOURS - 1] = False

    def run(self, found: tuple[str, ...]) -> Audit:
        """Do all of it."""
        self._check_manifest()
        with progress("chunk sizes", int(self._inside.sum())) as advance:
            census = take_census(self._fields, self._source, self._inside, advance)
        self._looked_at.append(census.looked_at)
        self._note_absent(census)
        observations = self._observe(self._positions(census))
        for problem, when in observations.problems():
            self._problems.append(problem)
            if problem.severity == "skip":
                self._skip |= {time: self._skip.get(time, f"{problem.what}: {problem.detail}") for time in when}
        return Audit(
            self._store.source,
            extent(self._store, self._times, self._step),
            tuple(layouts(self._store)),
            observations.ranges(),
            tuple(name for name in CHANNELS_78 if name not in found),
            tuple(sorted(self._problems, key=lambda p: ("wrong", "skip", "note").index(p.severity))),
            tuple(self._looked_at),
            self._skip,
        )

    def _check_manifest(self) -> None:
        shards = shards_of(self._source)
        if shards:
            with progress("shards of the manifest", len(shards)) as advance:
                self._problems += audit_manifest(self._source, checksums=self._options.full, advance=advance)
            what = "sizes and checksums" if self._options.full else "sizes"
            self._looked_at.append(f"{what} of the {len(shards)} shards in the manifest")

    def _note_absent(self, census: Census) -> None:
        """Times without their chunks, and channels that never have any, need not be read."""
        never = census.absent[self._inside].all(axis=0) if self._inside.any() else np.zeros(len(self._channels), bool)
        for name in np.array(self._channels)[never].tolist():
            self._problems.append(
                Problem("wrong", "no data", f"{name} has no chunk at any time; leave the channel out")
            )
        absent = census.absent & ~never
        rows = np.flatnonzero(absent.any(axis=1))
        # Bits, because sorting decades of hourly rows by their flags takes minutes.
        _, first, kind = np.unique(np.packbits(absent[rows], axis=1), axis=0, return_index=True, return_inverse=True)
        for i, row in enumerate(rows[first]):
            when = self._times[rows[kind.reshape(-1) == i]]
            detail = names_of(tuple(np.array(self._channels)[absent[row]].tolist()))
            self._problems.append(Problem.at("skip", "absent chunks", detail, when))
            self._skip |= dict.fromkeys(when, f"absent chunks: {detail}")
        self._inside &= ~absent.any(axis=1)
        self._channels = tuple(np.array(self._channels)[~never].tolist())

    def _positions(self, census: Census) -> NDArray[np.intp]:
        """Which times are read."""
        candidates = np.flatnonzero(self._inside)
        if self._options.full:
            self._looked_at.append(f"the fields of all {len(candidates)} times that have chunks")
            return candidates
        count = min(self._options.samples, len(candidates))
        even = candidates[np.linspace(0, len(candidates) - 1, count).astype(int)] if count else candidates
        suspects = np.flatnonzero(census.small.any(axis=1) & self._inside)
        read = suspects[np.linspace(0, len(suspects) - 1, min(len(suspects), _MOST_SUSPECTS)).astype(int)]
        ends = candidates[[0, 1, -2, -1]] if len(candidates) > 1 else candidates
        self._looked_at.append(
            f"the fields of {len(even)} of {len(self._times)} times, evenly spread, and of {len(read)} of "
            f"{len(suspects)} times with small chunks; `--full` reads all"
        )
        return np.unique(np.concatenate([even, ends, read])).astype(np.intp)

    def _observe(self, positions: NDArray[np.intp]) -> Observations:
        observations = Observations(self._channels, self._times)
        with progress("times", len(positions)) as advance:
            for seen in self._inspect(positions):
                observations.add(seen)
                advance(1, "")
        return observations

    def _inspect(self, positions: NDArray[np.intp]) -> Iterator[Seen]:
        options = self._options
        threads = reader_threads(options.dask, options.threads, self._source) if options.full else options.threads
        whole = Inspection(self._source, self._channels, tuple(positions.tolist()), threads)
        tasks = whole.parts(positions_per_task(self._fields))
        if self._options.full:
            yield from self._inspect_on_dask(tasks)
        else:
            for task in tasks:
                yield from inspect(task)

    def _inspect_on_dask(self, tasks: Iterator[Inspection]) -> Iterator[Seen]:
        options = self._options
        with dask_client(options.dask, options.threads) as client:
            in_flight = 2 * worker_count(options.dask, options.threads)
            for _, seen in run_tasks(client, inspect, tasks, in_flight=in_flight):
                yield from seen


def _nothing_usable(store: OpenStore, absent: list[str]) -> str:
    if absent:
        return f"{store.source} lacks the channels {absent}; leave them out of --channels"
    held = sorted(map(str, store.dataset.data_vars))
    return f"{store.source} holds no variable of the model over time, only {held}; see fuxi_ens.channels for the names"
