"""Writing so that a reader never sees half a file: temporary name, fsync, rename."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fuxi_ens.errors import UserError


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path` completely or not at all; creates the folder. Raises OSError, for a full disk too."""
    with open_atomic(path) as file:
        file.write(content)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes `path` when the block ends, and vanishes when it raises; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unique among threads, processes, and nodes that share the disk.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def existing_parent(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    absolute = folder.absolute()
    return next(parent for parent in (absolute, *absolute.parents) if parent.exists())


def require_writable(folder: Path) -> None:
    """Raise UserError unless files can be created in `folder`, which need not exist yet."""
    existing = existing_parent(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"run.folder {folder} cannot be written: {existing} is no writable folder; choose another")


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
