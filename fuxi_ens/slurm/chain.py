"""A whole run as jobs that wait for each other."""

from dataclasses import replace

from fuxi_ens.config import Config
from fuxi_ens.config.site import SiteConfig
from fuxi_ens.slurm.jobs import Job, JobKind, make_job

_STAGES = (JobKind.STATISTICS, JobKind.TRAIN, JobKind.FORECAST, JobKind.VERIFY, JobKind.SCORECARD)


def make_chain(config: Config, site: SiteConfig, *, nodes: int | None = None, parts: int | None = None) -> list[Job]:
    """All stages from the store to the scorecard, each after the success of the one before.

    Begins with the preparation of the training store where the config has one; events that the config has follow the
    forecast, beside the verification. Stages that were done before see it and
    end at once. A job that goes back into the queue keeps its number, so those after it go on waiting. Raises UserError
    as `make_job`.
    """
    kinds = [*([JobKind.PREPARE] if config.prepare else []), *_STAGES]
    first, *rest = [make_job(kind, config, site, nodes=nodes, parts=parts) for kind in kinds]
    stages = [first, *(replace(job, after=(before,)) for before, job in zip(kinds[:-1], rest, strict=True))]
    return [*stages, *(replace(make_job(kind, config, site), after=(JobKind.FORECAST,)) for kind in _events(config))]


def _events(config: Config) -> list[JobKind]:
    cyclones = [JobKind.CYCLONES] if config.events.cyclones else []
    return [*cyclones, *([JobKind.HEAT_WAVES] if config.events.heat_waves else [])]
