"""Writing so that a reader never sees half a file: temporary name, fsync, rename."""

import os
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` completely or not at all; creates the folder. Raises OSError, for a full disk too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
