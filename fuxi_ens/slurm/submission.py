"""From jobs to scripts in the run folder to numbers in the queue."""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fuxi_ens.config import Config
from fuxi_ens.config.site import SiteConfig
from fuxi_ens.errors import UserError
from fuxi_ens.files import require_writable, write_atomic
from fuxi_ens.paths import RunPaths
from fuxi_ens.slurm import batch
from fuxi_ens.slurm.jobs import Job, JobKind
from fuxi_ens.slurm.ledger import Submitted, note, submitted
from fuxi_ens.slurm.script import log_name, render


@dataclass(frozen=True, slots=True)
class Request:
    """A run, as its user wrote it, and the cluster it shall run on."""

    config: Config
    config_file: Path
    overrides: Sequence[str]
    site: SiteConfig

    @property
    def jobs_folder(self) -> Path:
        """Scripts, logs and the list of jobs."""
        return RunPaths(self.config.run.folder.absolute()).jobs

    def script(self, job: Job, folder: Path) -> str:
        """Text of a job's script that lies in `folder` beside a copy of the config."""
        # Elements of an array start hours apart, and the job that verifies days later: the newest time is that of now.
        overrides = (*self.overrides, *self.config.forecast.init_times.fixed)
        arguments = [str(folder / "config.yaml"), *itertools.chain(*(("--set", each) for each in overrides))]
        return render(job, self.site, arguments, folder=Path.cwd(), logs=self.jobs_folder)


def preview(request: Request, jobs: Sequence[Job]) -> str:
    """The commands and scripts that `submit` would use; writes and submits nothing."""
    folder = request.jobs_folder / "NEXT"
    parts = []
    for job in jobs:
        words = batch.sbatch_words(folder / f"{job.kind.value}.sh", [kind.value.upper() for kind in job.after])
        parts.append(f"# {shlex.join(words)}\n{request.script(job, folder)}")
    return "\n".join(parts)


def submit(request: Request, jobs: Sequence[Job], *, force: bool = False) -> list[Submitted]:
    """Submit jobs that follow each other; all of them or none stays in the queue.

    Config and scripts are kept in a numbered folder below `jobs` of the run folder: a job that waits for days runs what
    was submitted, whatever becomes of the file meanwhile. Raises UserError when SLURM refuses or, without `force`, when
    a job of the same kind waits or runs for this run folder.
    """
    require_writable(request.config.run.folder)
    if not force:
        _refuse_seconds(request, {job.kind for job in jobs})
    folder = _new_folder(request.jobs_folder)
    write_atomic(folder / "config.yaml", request.config_file.read_bytes())
    accepted: dict[JobKind, Submitted] = {}
    for job in jobs:
        script = folder / f"{job.kind.value}.sh"
        write_atomic(script, request.script(job, folder).encode())
        try:
            number = batch.submit(script, [accepted[kind].job for kind in job.after])
        except UserError:
            if accepted:
                batch.cancel(entry.job for entry in accepted.values())
            raise
        log = log_name(job).replace("%x", job.name).replace("%j", number).replace("%A_%a", f"{number}_*")
        accepted[job.kind] = Submitted(job.kind.value, number, str(script), str(request.jobs_folder / log))
        note(request.jobs_folder, accepted[job.kind])
    return list(accepted.values())


def _refuse_seconds(request: Request, kinds: set[JobKind]) -> None:
    earlier = {entry.job: entry.kind for entry in submitted(request.jobs_folder) if entry.kind in kinds}
    found = batch.live(earlier)
    if found:
        raise UserError(
            f"{request.config.run.folder} has a {earlier[found[0]]} job already, {found[0]}: two would write the same "
            f"files; wait for it, end it with `scancel {found[0]}`, choose another run.folder, or use --force"
        )


def _new_folder(parent: Path) -> Path:
    for number in itertools.count(1):
        folder = parent / f"{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("there is always a next number")
