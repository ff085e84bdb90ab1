"""The state of a run on disk: everything an exact resume needs, written atomically, the newest two kept.

Random numbers and the sampler's order are functions of (seed, iteration), so the position is all there is to restore.
"""

import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fuxi_ens.errors import UserError
from fuxi_ens.files import write_atomic

_KEEP = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """Where training stands: `iteration` iterations of stage number `stage` are done."""

    stage: int
    iteration: int


def save_state(folder: Path, position: Position, config_hash: str, tensors: dict[str, Any]) -> Path:
    """Write one state file, its checksum first, and delete all but the newest two."""
    buffer = io.BytesIO()
    torch.save({"stage": position.stage, "iteration": position.iteration, "config": config_hash, **tensors}, buffer)
    path = folder / f"state_{position.stage:02d}_{position.iteration:08d}.pt"
    write_atomic(_checksum(path), hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
    write_atomic(path, buffer.getbuffer())
    _tidy(folder)
    return path


def _tidy(folder: Path) -> None:
    """Delete all but the newest states, and what a killed run left behind."""
    kept = _states(folder)[-_KEEP:]
    for file in (*folder.glob("state_*"), *folder.glob(".state_*.partial")):
        if file not in kept and file.with_suffix(".pt") not in kept:
            file.unlink()


def load_state(folder: Path, config_hash: str) -> tuple[Position, dict[str, Any]] | None:
    """Newest whole state, or None when there is none. A damaged file is skipped with a warning.

    Raises UserError when the state belongs to another configuration, or when no file of a started run is whole.
    """
    found = _states(folder)
    for path in reversed(found):
        content = path.read_bytes()
        checksum = _checksum(path)
        if not checksum.exists() or hashlib.sha256(content).hexdigest().encode() != checksum.read_bytes():
            log.warning("%s is damaged; going back to the state before it", path)
            continue
        values = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        if values.pop("config") != config_hash:
            raise UserError(
                f"{folder} holds the state of a run with other settings; resume with the same config, "
                "choose another run.folder, or delete that folder"
            )
        return Position(values.pop("stage"), values.pop("iteration")), values
    if found:
        raise UserError(f"every state in {folder} is damaged; delete that folder to start anew")
    return None


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("state_*.pt"))


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")
