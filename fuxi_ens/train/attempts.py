"""How often a job began, and where: a job that starts again and again at one place must not use up an allocation."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fuxi_ens.errors import UserError
from fuxi_ens.files import write_atomic

_FILE = "attempts.jsonl"
_FRUITLESS = 2
"""Attempts in a row without a saved iteration after which there is no other: one may be bad luck with a node."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of training in a SLURM job."""

    job: int
    restart: int
    """How often SLURM had put the job back into its queue."""
    stage: int
    iteration: int
    """Stage and iteration of the state that it went on from."""


def note_attempt(folder: Path, position: tuple[int, int]) -> None:
    """Note in `folder` that training begins at (stage, iteration); does nothing outside SLURM. For one process only.

    Raises UserError in a requeued job that began at this very position twice in a row before: it would loop for ever. A
    job that was submitted anew is never refused, nor are commands that a user gives one after the other in a job.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    attempt = Attempt(int(os.environ["SLURM_JOB_ID"]), restart, *position)
    path = folder / _FILE
    noted = path.read_text(encoding="utf-8") if path.exists() else ""
    write_atomic(path, f"{noted}{json.dumps(asdict(attempt))}\n".encode())
    before = [item for item in _attempts(noted) if item.job == attempt.job][-_FRUITLESS:]
    if restart and len(before) == _FRUITLESS and all(_place(item) == position for item in before):
        raise UserError(
            f"job {attempt.job} began {_FRUITLESS} times at stage {position[0]}, iteration {position[1]} and saved "
            "nothing further, so it is not tried again; read its log for the reason. If it only ran out of time, lower "
            "train.checkpoint_every or ask for more, then submit it anew"
        )


def _attempts(text: str) -> list[Attempt]:
    return [Attempt(**json.loads(line)) for line in text.splitlines()]


def _place(attempt: Attempt) -> tuple[int, int]:
    return attempt.stage, attempt.iteration
