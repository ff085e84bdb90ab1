"""The kinds of jobs of a run: which command each starts, on which nodes, and in which order they follow each other."""

import re
from dataclasses import dataclass
from enum import StrEnum

from fuxi_ens.config import Config
from fuxi_ens.config.site import GpuNodesConfig, NodesConfig, SiteConfig
from fuxi_ens.errors import UserError


class JobKind(StrEnum):
    """One stage of a run as a batch job."""

    PREPARE = "prepare"
    STATISTICS = "statistics"
    CLIMATOLOGY = "climatology"
    TRAIN = "train"
    FORECAST = "forecast"
    VERIFY = "verify"
    SCORECARD = "scorecard"
    CYCLONES = "cyclones"
    HEAT_WAVES = "heat-waves"


_GROUPED = (JobKind.PREPARE, JobKind.STATISTICS, JobKind.CLIMATOLOGY)
"""Their commands begin with `data`."""
_EVENTS = (JobKind.CYCLONES, JobKind.HEAT_WAVES)
"""Theirs begin with `events`."""
_CHECKED = (JobKind.TRAIN, JobKind.FORECAST, JobKind.VERIFY)
"""Those that `fuxi-ens check --stage` knows; the others find out in their first seconds themselves."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of SLURM for one job."""

    kind: JobKind
    name: str
    """Name in the queue and in the log's file name: letters, digits, dots, dashes and underscores."""
    where: NodesConfig
    time: str
    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    parts: int = 1
    """Elements of the job array; 1 makes no array."""
    after: tuple[JobKind, ...] = ()
    """Jobs of the same chain that must have succeeded."""

    @property
    def words(self) -> tuple[str, ...]:
        """The command after `fuxi-ens`, up to its config."""
        if self.kind is JobKind.SCORECARD:
            return self.kind.value, "--config"
        if self.kind in _EVENTS:
            return "events", self.kind.value
        return ("data", self.kind.value) if self.kind in _GROUPED else (self.kind.value,)

    @property
    def checked(self) -> bool:
        """Whether `fuxi-ens check` knows this stage."""
        return self.kind in _CHECKED


def make_job(
    kind: JobKind, config: Config, site: SiteConfig, *, nodes: int | None = None, parts: int | None = None
) -> Job:
    """One job of a run; `nodes` holds for training, `parts` for a forecast, null takes the site's.

    Raises UserError when the samples cannot be divided among so many training processes.
    """
    name = f"{kind.value}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', config.run.name)}"
    limit: str = getattr(site.time, kind.value.replace("-", "_"))
    if kind is JobKind.TRAIN:
        job = Job(kind, name, site.gpu, limit, nodes or site.gpu.nodes, site.gpu.training_tasks, site.gpu.gpus_per_node)
        _require_whole_groups(config, job)
        return job
    if kind is JobKind.FORECAST:
        items = config.forecast.item_count
        parts = min(parts or site.forecast_tasks, items)
        # A process makes one work item at a time; GPUs beyond the items of a part would be asked for in vain.
        gpus = min(site.gpu.gpus_per_node, -(-items // parts))
        return Job(kind, name, site.gpu, limit, tasks_per_node=max(gpus, 1), gpus_per_node=gpus, parts=parts)
    return Job(kind, name, site.cpu, limit)


def gpu_option(job: Job) -> str | None:
    """The option that asks for the job's GPUs, null if it needs none."""
    if not job.gpus_per_node or not isinstance(job.where, GpuNodesConfig):
        return None
    typed = [job.where.gpu_type] if job.where.gpu_type else []
    words = [*(["gpu"] if job.where.gpu_option == "gres" else []), *typed, str(job.gpus_per_node)]
    return f"--{job.where.gpu_option}={':'.join(words)}"


def _require_whole_groups(config: Config, job: Job) -> None:
    processes, sharing = job.nodes * job.tasks_per_node, config.train.ranks_per_sample
    if processes % sharing:
        raise UserError(
            f"train.ranks_per_sample {sharing} does not divide {processes} training processes ({job.nodes} nodes with "
            f"{job.tasks_per_node} each); change it, or --nodes"
        )
