"""What was submitted for a run folder, kept in the folder itself: a line of JSON per job."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "submitted.jsonl"


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that SLURM accepted."""

    kind: str
    job: str
    """Its number in SLURM."""
    script: str
    log: str
    """Its log, with `*` for the number of an array's element."""


def note(folder: Path, entry: Submitted) -> None:
    """Add a job to the list; a single write at the end of the file, so that two submissions do not mix."""
    descriptor = os.open(folder / _FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, f"{json.dumps(asdict(entry))}\n".encode())
    finally:
        os.close(descriptor)


def submitted(folder: Path) -> list[Submitted]:
    """All jobs that were submitted from this folder, oldest first."""
    path = folder / _FILE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [Submitted(**json.loads(line)) for line in text.splitlines()]
