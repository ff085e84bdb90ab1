"""The record of a run: one JSON object per line, append only, readable while the run goes on.

`metrics.jsonl` holds everything; trackers and pictures are for looking at, and a run goes on without them.
"""

import errno
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fuxi_ens.config import Config
from fuxi_ens.files import write_atomic
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.picture import Draw, ValidationPicture
from fuxi_ens.train.trackers import Trackers, require_trackers

_PICTURES = "pictures"
log = logging.getLogger(__name__)


class Record:
    """Writes what a run tells to `metrics.jsonl`, to the trackers of the config, and validations as pictures.

    Only the main rank writes. Records and pictures after the position that training resumes from are dropped first, so
    that no iteration is told twice. Raises UserError on every rank for a tracker that is not installed.
    """

    def __init__(self, config: Config, resumed_at: int, *, main: bool, draw: Draw | None = None) -> None:
        require_trackers(config.train.trackers)
        paths = RunPaths(config.run.folder)
        self._path, self._pictures = paths.metrics, paths.training / _PICTURES
        self._main, self._draw = main, draw
        self._waiting: list[str] = []
        self._trackers: Trackers | None = None
        if not main:
            return
        kept = [line for line in _complete_lines(self._path) if json.loads(line)["iteration"] <= resumed_at]
        write_atomic(self._path, "".join(kept).encode())
        for picture in self._pictures.glob("validation_*.png"):
            if int(picture.stem.removeprefix("validation_")) > resumed_at:
                picture.unlink()
        self._trackers = Trackers(config, paths.training, resumed_at)

    def write(self, kind: str, iteration: int, values: Mapping[str, Any]) -> None:
        """Append one record of numbers and texts, nested at will; `iteration` counts over all stages.

        A disk that is full must not end a run that may outlive the trouble: records then wait in memory.
        """
        if not self._main:
            return
        self._waiting.append(json.dumps({"kind": kind, "iteration": iteration, **values}) + "\n")
        self._append()
        if self._trackers:
            self._trackers.write(kind, iteration, dict(_numbers(kind, values)))

    def picture(self, iteration: int, picture: ValidationPicture) -> None:
        """Draw a validation, if there is somebody who draws."""
        if not self._main or self._draw is None:
            return
        path = self._pictures / f"validation_{iteration:08d}.png"
        try:
            self._draw(picture, path)
        except Exception:
            log.warning("no picture of the validation at iteration %d", iteration, exc_info=True)
            return
        if self._trackers:
            self._trackers.picture(iteration, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._trackers:
            self._trackers.close()
        if self._waiting:
            self._append()
        if self._waiting:
            log.error("the last %d records of %s are lost", len(self._waiting), self._path)

    def _append(self) -> None:
        try:
            _append_whole(self._path, "".join(self._waiting).encode())
        except OSError as error:
            if len(self._waiting) == 1:
                log.warning("records wait until %s can be written: %s", self._path, error)
        else:
            self._waiting.clear()


def read_records(path: Path) -> list[dict[str, Any]]:
    """All records of a run, which may be under way, in the order of writing; none if there is no such file."""
    return [json.loads(line) for line in _complete_lines(path)]


def _append_whole(path: Path, content: bytes) -> None:
    """Append all of it or nothing: half a line would spoil the next one."""
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        if file.write(content) < len(content):
            file.truncate(before)
            raise OSError(errno.ENOSPC, "no space for a whole record", str(path))


def _complete_lines(path: Path) -> list[str]:
    """Lines that end in a newline: a killed run may leave a torn last one."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    """The numbers in nested mappings by their path, as in `validation/crps/z500/6h`; texts have no curve."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name}/{key}", inner)
    elif isinstance(value, int | float):
        yield name, float(value)
