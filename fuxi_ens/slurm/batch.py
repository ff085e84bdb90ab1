"""SLURM's own commands: submit, ask, cancel."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from fuxi_ens.errors import UserError

_KEPT = frozenset({"SLURM_CONF", "SLURM_JWT"})
_LAUNCHER = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"})


def sbatch_words(script: Path, after: Iterable[str] = ()) -> list[str]:
    """The command that submits a script, to start when the jobs `after` have succeeded and never if one fails."""
    ids = ":".join(after)
    waiting = ["--kill-on-invalid-dep=yes", f"--dependency=afterok:{ids}"] if ids else []
    return ["sbatch", "--parsable", *waiting, str(script)]


def submit(script: Path, after: Iterable[str] = ()) -> str:
    """Submit a script; returns the job's number. Raises UserError with the words of sbatch when it refuses."""
    # On a federation the cluster's name follows a semicolon.
    return _run(sbatch_words(script, after)).strip().partition(";")[0]


def live(jobs: Iterable[str]) -> list[str]:
    """Those of the jobs that wait or run."""
    asked = list(jobs)
    if not asked:
        return []
    try:
        found = _run(["squeue", "--noheader", "--format=%F", f"--jobs={','.join(asked)}"])
    except UserError as error:
        # SLURM forgets a job some minutes after its end, and then does not know the number.
        if "Invalid job id" in str(error):
            return []
        raise
    return [job for job in asked if job in found.split()]


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs."""
    _run(["scancel", *jobs])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]} is not here; submit on a machine of the cluster, or use --dry-run") from error
    if done.returncode:
        raise UserError(f"{' '.join(command[:2])} failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Ours, without what would change a job in secret.

    sbatch takes options from variables before those of a script; a job that is submitted from inside another would
    inherit its numbers.
    """
    foreign = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SCANCEL_")
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not (name.startswith(foreign) or name in _LAUNCHER)
    }
