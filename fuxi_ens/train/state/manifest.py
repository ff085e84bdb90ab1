"""The manifest of a state: what the state is, and size and checksum of every file. Only with it is a folder a state."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fuxi_ens.errors import UserError
from fuxi_ens.files import write_atomic

Counters = Mapping[str, int | float | str | None]
"""Small facts of the run that are carried through a resume."""

_SCHEMA_VERSION = 1
_FILE = "manifest.json"
_STATE = re.compile(r"state_(\d{2,})_(\d{8,})")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where training stands: `iteration` iterations of stage number `stage` are done."""

    stage: int
    iteration: int

    @property
    def folder_name(self) -> str:
        """Name of the state at this position."""
        return f"state_{self.stage:02d}_{self.iteration:08d}"


def positions_in(folder: Path) -> list[Position]:
    """Positions of all states in a folder, whole or not, newest first."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    found = [Position(int(match[1]), int(match[2])) for name in names if (match := _STATE.fullmatch(name))]
    return sorted(found, reverse=True)


class DamagedState(Exception):
    """A state that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a file must be."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Checksum":
        """Of a file as it is. Raises OSError."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path.stat().st_size, digest)

    def difference(self, path: Path) -> str | None:
        """What is wrong with a file, in a few words with its name; None if nothing is."""
        try:
            size = path.stat().st_size
            if size != self.size:
                return f"{path.name} has {size} bytes, not {self.size}"
            same = Checksum.of(path) == self
        except OSError as error:
            return f"{path.name}: {error.strerror}"
        return None if same else f"{path.name} has another checksum than when it was written"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a state is."""

    identity: str
    """Hash of the settings that decide the weights."""
    position: Position
    world: int
    """Ranks that wrote it."""
    counters: dict[str, int | float | str | None]
    score: float | None
    """Validation score at this position, lower is better; None if there was none."""
    files: dict[str, Checksum]

    def write(self, folder: Path) -> None:
        """Write it into the folder of a state, synced. Raises OSError."""
        content = {"schema_version": _SCHEMA_VERSION, **asdict(self)}
        text = json.dumps({**content, "sha256": _digest(content)}, indent=1)
        write_atomic(folder / _FILE, text.encode())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """From the folder of a state. Raises DamagedState; UserError if another version of fuxi_ens wrote it."""
        content = _checked(folder / _FILE)
        version = content.pop("schema_version")
        if version != _SCHEMA_VERSION:
            raise UserError(
                f"{folder} was written by another version of fuxi_ens (schema {version}, this one has "
                f"{_SCHEMA_VERSION}); resume with that version, or delete {folder.parent} to start anew"
            )
        files = {name: Checksum(**checksum) for name, checksum in content.pop("files").items()}
        return cls(position=Position(**content.pop("position")), files=files, **content)


def _checked(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DamagedState(f"{path.name}: {error.strerror}") from error
    except ValueError as error:
        raise DamagedState(f"{path.name} is no JSON") from error
    if not isinstance(content, dict) or content.pop("sha256", None) != _digest(content):
        raise DamagedState(f"{path.name} has another checksum than when it was written")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
