"""The record of a run: one JSON object per line, append only, readable while the run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path

from fuxi_ens.files import write_atomic


class MetricsLog:
    """Appends records to `metrics.jsonl`; on resume, records after the restored position are dropped first."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        self._path = path
        kept = [line for line in _complete_lines(path) if json.loads(line)["iteration"] <= resumed_at]
        write_atomic(path, "".join(kept).encode())

    def write(self, kind: str, iteration: int, values: Mapping[str, float | str | Mapping[str, float]]) -> None:
        """Append one record; `iteration` counts over all stages."""
        record = {"kind": kind, "iteration": iteration, **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _complete_lines(path: Path) -> list[str]:
    """Lines that end in a newline: a killed run may leave a torn last one."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
