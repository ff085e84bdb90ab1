"""Job scripts, as text. Every value of a config, a site file or a command line is quoted; only `setup` is shell."""

import shlex
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fuxi_ens import __version__
from fuxi_ens.config.site import SiteConfig
from fuxi_ens.slurm.jobs import Job, gpu_option


def render(job: Job, site: SiteConfig, arguments: list[str], *, folder: Path, logs: Path) -> str:
    """The script of a job.

    Args:
        job: What is asked of SLURM.
        site: The cluster.
        arguments: Words of the command after its name: the config, and overrides of it.
        folder: Where it runs: relative paths of the config start there.
        logs: Folder of its log, and of the marks that it leaves for its own next start.
    """
    environment = Environment(
        loader=PackageLoader("fuxi_ens.slurm"),
        # Shell, not HTML: the filters below quote.
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quote": shlex.quote, "words": shlex.join}
    return environment.get_template("job.sh.j2").render(
        version=__version__,
        kind=job.kind.value,
        options=_options(job, site, folder, logs),
        words=job.words,
        checked=job.checked,
        parts=job.parts,
        arguments=arguments,
        setup=site.setup,
        environment=site.environment,
        program=[*site.container, "fuxi-ens"],
        srun_options=site.srun_options,
        max_requeues=site.max_requeues,
        marks=str(logs),
    )


def log_name(job: Job) -> str:
    """Name of a job's log as SLURM fills it in: job name and number, with the element's for an array."""
    return "%x-%A_%a.out" if job.parts > 1 else "%x-%j.out"


def _options(job: Job, site: SiteConfig, folder: Path, logs: Path) -> list[str]:
    """The `#SBATCH` lines, whose quotes sbatch understands as a shell does."""
    where = job.where
    named = {
        "job-name": job.name,
        "account": where.account or site.account,
        "partition": where.partition,
        "qos": where.qos,
        "reservation": where.reservation,
        "constraint": where.constraint,
        "time": job.time,
        "nodes": job.nodes,
        "ntasks-per-node": job.tasks_per_node,
        "cpus-per-task": where.cpus_per_task,
        "mem": where.memory,
        "array": f"0-{job.parts - 1}" if job.parts > 1 else None,
        "chdir": shlex.quote(str(folder)),
        # A percent sign of a folder's own is no pattern of SLURM's.
        "output": shlex.quote(f"{logs}/".replace("%", "%%") + log_name(job)),
        "open-mode": "append",
        "signal": f"B:USR1@{site.signal_seconds}",
    }
    options = [f"--{name}={value}" for name, value in named.items() if value is not None]
    gpus = gpu_option(job)
    return [*options, *([gpus] if gpus else []), "--requeue", *site.sbatch_options]
