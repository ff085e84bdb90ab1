"""Per-channel mean and standard deviation over the training periods, in one streaming pass on Dask.

Precipitation is logged first, sea-surface temperature counts over sea only, sums are float64 and area weighted. One
task is a block of consecutive times; blocks are fixed by the data and merged in their order, so the numbers do not
depend on the workers, and sums of finished blocks are kept, so that a pass that was killed goes on where it was.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fuxi_ens.cluster import dask_client, run_tasks, worker_count
from fuxi_ens.config import Config, Period
from fuxi_ens.data.era5 import open_configured
from fuxi_ens.data.moments import BlockMoments
from fuxi_ens.data.reading import Reading
from fuxi_ens.data.statistics_block import Block, block_moments, blocks
from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.paths import RunPaths
from fuxi_ens.progress import progress
from fuxi_ens.provenance import provenance
from fuxi_ens.times import Times

_CONSTANT: Final = 1e-6
_REMEDY: Final = "delete it and run `fuxi-ens data statistics CONFIG`"


@dataclass(frozen=True)
class Statistics:
    """Numbers that standardize the channels; model units, precipitation as log(1 + mm)."""

    channels: tuple[str, ...]
    mean: tuple[FiniteFloat, ...]
    std: tuple[Annotated[FiniteFloat, Field(gt=0)], ...]
    increment_std: tuple[Annotated[FiniteFloat, Field(ge=0)], ...]
    """Standard deviation of the change over one step, divided by `std`."""
    frames: int
    """Frames that entered the means."""
    source: str
    periods: str
    """The training periods, in words."""
    provenance: dict[str, str | int] = Field(default_factory=dict)
    """Version, config hash, libraries; for the record, compared with nothing."""

    def save(self, path: Path) -> None:
        """Write JSON atomically."""
        write_atomic(path, json.dumps(asdict(self), indent=1).encode() + b"\n")


def load_statistics(path: Path, config: Config) -> Statistics:
    """Read back what `Statistics.save` wrote. Raises StoreError when absent, damaged, or made for another config."""
    try:
        statistics = TypeAdapter(Statistics).validate_json(path.read_bytes())
        lengths = {len(statistics.channels), len(statistics.mean), len(statistics.std), len(statistics.increment_std)}
        if len(lengths) > 1:
            raise ValueError(f"its columns have lengths {sorted(lengths)}")
    except FileNotFoundError as error:
        raise StoreError(f"no statistics at {path}; run `fuxi-ens data statistics CONFIG` first") from error
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise StoreError(f"{path} is damaged ({reason}); {_REMEDY}") from error
    made_for = (statistics.channels, statistics.source, statistics.periods)
    asked = (config.model.channels, config.data.store, _describe(config.data.train))
    for what, got, expected in zip(("channels", "data.store", "data.train"), made_for, asked, strict=True):
        if got != expected:
            raise StoreError(f"{path} was made for {what} {got}, the config has {expected}; {_REMEDY}")
    return statistics


def compute_statistics(config: Config) -> Statistics:
    """One pass over data.train on the workers of config.dask; sums of finished blocks stay until `forget_sums`.

    Raises StoreError for a store that lacks training times or has missing values, and if a channel never varies.
    """
    analysis = open_configured(config)
    analysis.require_complete(config.data.train, config.data.step_size)
    used = analysis.times[np.any([period.contains(analysis.times) for period in config.data.train], axis=0)]
    plan = blocks(used, config.data.step_size, config.model.channels, config.model.grid)
    folder = RunPaths(config.run.folder).statistics_sums / _identity(config, used, plan)
    done = _pass(config, plan, folder)
    total = BlockMoments.none(len(config.model.channels))
    for block in plan:
        total = total.merge(done[block.number])
    return _finish(config, total)


def forget_sums(config: Config) -> None:
    """Remove the sums of blocks, once the statistics are saved."""
    folder = RunPaths(config.run.folder).statistics_sums
    if folder.exists():
        shutil.rmtree(folder)


def _pass(config: Config, plan: list[Block], folder: Path) -> dict[int, BlockMoments]:
    """Moments by number of the block: read back, or computed and written."""
    done = {block.number: _read_sums(_sums_path(folder, block)) for block in plan if _sums_path(folder, block).exists()}
    with progress("statistics", sum(len(block.times) for block in plan)) as advance:
        advance(sum(moments.frames for moments in done.values()), "")
        for block, moments, note in _computed(config, [block for block in plan if block.number not in done]):
            write_atomic(_sums_path(folder, block), json.dumps(moments.as_lists()).encode())
            done[block.number] = moments
            advance(len(block.times), note)
    return done


def _computed(config: Config, plan: list[Block]) -> Iterator[tuple[Block, BlockMoments, str]]:
    """Blocks as they finish, with their moments and the rate so far in words."""
    if not plan:
        return
    reading = Reading.of(config, config.model.channels)
    workers = worker_count(config.dask, config.run.threads)
    started, decoded = time.monotonic(), 0
    with dask_client(config.dask, config.run.threads) as client:
        tasks = [(reading, block) for block in plan]
        for (_, block), moments in run_tasks(client, block_moments, tasks, in_flight=2 * workers):
            decoded += block.bytes
            yield block, moments, f"{decoded / 1e6 / (time.monotonic() - started):.0f} MB/s"


def _sums_path(folder: Path, block: Block) -> Path:
    return folder / f"{block.number:05d}.json"


def _read_sums(path: Path) -> BlockMoments:
    try:
        return BlockMoments.from_lists(json.loads(path.read_bytes()))
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and run the same command again") from error


def _identity(config: Config, used: Times, plan: list[Block]) -> str:
    """A name for all that decides the sums of blocks: store, channels, grid, times, and where blocks begin."""
    decisive = (config.data.store, config.model.channels, config.model.grid, [len(block.times) for block in plan])
    digest = hashlib.sha256(repr(decisive).encode())
    digest.update(used.astype("<M8[ns]").tobytes())
    return digest.hexdigest()[:16]


def _finish(config: Config, total: BlockMoments) -> Statistics:
    fields, increments = total.fields, total.increments
    for c, name in enumerate(config.model.channels):
        # Rounding leaves a little variance in a constant field.
        if not fields.std[c] > _CONSTANT * abs(fields.mean[c]):
            raise StoreError(f"channel {name} never varies over data.train in {config.data.store}; leave it out")
        if not increments.weight[c]:
            raise StoreError("data.train has no two adjacent frames, so no increment; widen it")
    return Statistics(
        channels=config.model.channels,
        mean=tuple(fields.mean.tolist()),
        std=tuple(fields.std.tolist()),
        increment_std=tuple((increments.std / fields.std).tolist()),
        frames=total.frames,
        source=config.data.store,
        periods=_describe(config.data.train),
        provenance=provenance(config, config.data, config.model),
    )


def _describe(periods: tuple[Period, ...]) -> str:
    return ", ".join(f"{p.start.isoformat()}..{p.end.isoformat()}" for p in periods)
