"""The sections on data: where analyses come from, how the training store and the climatology are made."""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from fuxi_ens import channels as vocabulary
from fuxi_ens.config.base import Period, Periods, Section
from fuxi_ens.config.fields import KeepBits
from fuxi_ens.times import hours


class DataConfig(Section):
    """Where the analysis comes from and which dates belong to which purpose."""

    bookkeeping = frozenset({"in_memory", "read_threads"})

    store: str
    """Analysis in the ERA5 / WeatherBench 2 layout: a path, a URL (gs://, s3://, https://), or asset:NAME."""
    skip_list: Path | None = None
    """File that `fuxi-ens data audit` wrote: times that no sample and no statistic may touch."""
    read_threads: NonNegativeInt = 0
    """Threads that fetch and decode chunks; 0 takes all cores for a store on disk, four times as many for a URL."""
    static_store: str = ""
    """Store of geopotential_at_surface and land_sea_mask; empty means `store` holds them."""
    train: Periods
    validation: Periods
    test: Periods
    step_size_hours: PositiveInt = 6
    in_memory: bool = False
    """Decode the chosen channels once and keep them in memory; for small grids."""

    @property
    def step_size(self) -> np.timedelta64:
        """Time between frames."""
        return hours(self.step_size_hours)

    @model_validator(mode="after")
    def _whole_days(self) -> Self:
        if 24 % self.step_size_hours:
            raise ValueError(f"step_size_hours {self.step_size_hours} must divide the day")
        return self


class SlurmConfig(Section):
    """What one Dask job asks of SLURM."""

    walltime: str = "04:00:00"
    queue: str | None = None
    account: str | None = None
    interface: str | None = None
    """Network interface of the workers, such as ib0."""
    directives: tuple[str, ...] = ()
    """Further lines for the job script, such as `--qos=long`."""


class PrepareConfig(Section):
    """How `fuxi-ens data prepare` turns `source` into the training store at data.store."""

    source: str
    """Any store that can be opened; regridded conservatively if its grid is not the model's."""
    periods: tuple[Period, ...] = ()
    """Valid times to copy; empty means data.train, data.validation and data.test."""
    times_per_shard: PositiveInt = 20
    """Times in one file; a chunk always holds one."""
    codec: Literal["blosc-lz4", "blosc-zstd"] = "blosc-lz4"
    codec_level: Annotated[int, Field(ge=0, le=9)] = 5
    keep_bits: KeepBits = Field(default_factory=dict)
    """Mantissa bits to keep, by channel name without level (z, t, u10m, tp); others keep all 23."""


class ClimatologyStoreConfig(Section):
    """The climatology that `fuxi-ens data climatology` makes, in WeatherBench 2's layout."""

    periods: tuple[Period, ...] = ()
    """Years to average; empty means data.train. Never test or validation years."""
    channels: tuple[str, ...] = ()
    """Channels to average; empty means model.channels."""
    window_days: Annotated[int, Field(ge=1, le=181)] = 61
    """Full width of the triangular window around a day of the year; odd."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.02, 0.05, 0.1, 0.9, 0.95, 0.98, 0.99)
    """Thresholds of events; empty makes none, which is much cheaper."""
    quantile_channels: tuple[str, ...] = tuple(
        part for name in vocabulary.HEADLINE for part in vocabulary.components(name)
    )
    """Those of `channels` that get quantiles; both components of a wind give its speed too."""

    @field_validator("channels", "quantile_channels")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if not vocabulary.is_channel(name)]
        if unknown:
            raise ValueError(f"unknown channels {unknown}; names are like those of model.channels")
        return vocabulary.in_tensor_order(tuple(set(names)))

    @model_validator(mode="after")
    def _centered(self) -> Self:
        if self.window_days % 2 == 0:
            raise ValueError(f"window_days {self.window_days} must be odd, so that a day is in the middle")
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles must increase, got {list(self.quantiles)}")
        return self


class DaskConfig(Section):
    """Workers of the streaming passes (prepare, statistics, climatology, audit) and of verify."""

    bookkeeping = frozenset({"cluster", "workers", "threads_per_worker", "memory", "slurm"})

    cluster: Literal["threads", "processes", "slurm"] = "threads"
    """`threads` of this process, `processes` on this node, or `slurm` jobs (`pip install 'fuxi-ens[slurm]'`)."""
    workers: NonNegativeInt = 0
    """Processes or jobs; 0 takes run.threads processes, or as many as there are cores."""
    threads_per_worker: PositiveInt = 1
    """Tasks that share the memory of a worker."""
    memory: str = "8GiB"
    """Memory of one worker, written like 8GiB."""
    slurm: SlurmConfig | None = None
    """What a job asks for; needed by cluster: slurm."""

    @model_validator(mode="after")
    def _slurm_is_described(self) -> Self:
        if self.cluster == "slurm" and (self.slurm is None or not self.workers):
            raise ValueError("dask.cluster slurm needs dask.workers (the number of jobs) and the section dask.slurm")
        return self
