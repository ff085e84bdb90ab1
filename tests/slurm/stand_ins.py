"""Stand-ins for SLURM's commands, which note how they were called and answer as a test wants."""

import json
import os

PROGRAM = """#!/usr/bin/env python3
import json, os, sys
from pathlib import Path

folder = Path({folder!r})
name = Path(sys.argv[0]).name
foreign = sorted(key for key in os.environ if key.startswith(("SLURM_", "SBATCH_")) or key in ("RANK", "WORLD_SIZE"))
with (folder / "calls").open("a") as file:
    file.write(json.dumps([name, sys.argv[1:], foreign]) + "\\n")
answers = folder / (name + ".json")
answer = json.loads(answers.read_text()) if answers.exists() else {{}}
if name == "sbatch":
    counter = folder / "counter"
    number = int(counter.read_text()) + 1 if counter.exists() else 101
    counter.write_text(str(number))
    answer = answer if answer.get("at", number) == number else {{}}
    answer.setdefault("out", f"{{number}};cluster")
print(answer.get("out", ""))
print(answer.get("err", ""), file=sys.stderr)
sys.exit(answer.get("code", 0))
"""


class StandIns:
    """A folder of commands for PATH."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        for name in ("sbatch", "squeue", "scancel"):
            (folder / name).write_text(PROGRAM.format(folder=str(folder)))
            (folder / name).chmod(0o755)
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def answer(self, name, **values):
        """What a command says from now on: out, err, code; for sbatch also `at`, the number it is for."""
        (self.folder / f"{name}.json").write_text(json.dumps(values))

    def calls(self, name):
        """Words of each call of a command."""
        return [words for called, words, _ in self._noted() if called == name]

    def foreign(self):
        """Variables that a call should not have seen."""
        return {key for _, _, keys in self._noted() for key in keys}

    def _noted(self):
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
