"""How a training stands, read from the files of its run folder while it may be under way elsewhere. Needs no torch."""

import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from fuxi_ens.config import Config
from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.progress import duration
from fuxi_ens.train.metrics_log import read_records

_SCORES = ("crps", "rmse", "spread_skill_ratio")
_MOST_LEADS = 6

Record = Mapping[str, Any]


def run_records(paths: RunPaths) -> list[dict[str, Any]]:
    """The record of a run. Raises UserError if nothing is recorded yet."""
    records = read_records(paths.metrics)
    if not records:
        raise UserError(
            f"{paths.metrics} holds no record of a training; start it with `fuxi-ens train`, or look at its log"
        )
    return records


def standing(config: Config, records: Sequence[Record]) -> dict[str, str]:
    """What a training has reached, in words by heading."""
    paths, last = RunPaths(config.run.folder), records[-1]
    trained, pace = _last(records, "train"), _last(records, "pace")
    rows = {
        "iteration": f"{last['iteration']} of {sum(stage.iterations for stage in config.train.stages)}",
        "stage": _stage(config, last["iteration"]),
        "last record": _ago(paths.metrics),
    }
    if trained:
        rows["loss"] = f"{trained['loss']:.4f} (error {trained['error']:.4f}, KL {trained['kl']:.4g})"
    if pace:
        rows |= _pace(pace)
    states = [f"{state.parent.name}, {_ago(state)}" for state in sorted(paths.training.glob("state_*/manifest.json"))]
    return {**rows, "states": "\n".join(states) or "none yet"}


def last_validation(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table, one row for each score and name; no row if nothing was validated yet."""
    found = _last(records, "validation")
    if not found:
        return [], []
    leads = _spread(list(next(iter(found["crps"].values()))))
    rows = [
        [score, name, *(f"{by_lead[lead]:.4g}" for lead in leads)]
        for score in _SCORES
        for name, by_lead in found[score].items()
    ]
    return [f"validation at {found['iteration']}", "name", *leads], rows


def _stage(config: Config, iteration: int) -> str:
    """The stage that the next iteration belongs to, or the last one, and how much of it is done."""
    stages = config.train.stages
    ends = list(accumulate(stage.iterations for stage in stages))
    number = next((n for n, end in enumerate(ends) if iteration < end), len(stages) - 1)
    stage = stages[number]
    done = min(iteration - (ends[number] - stage.iterations), stage.iterations)
    return f"{stage.name}, {number + 1} of {len(stages)}, iteration {done} of {stage.iterations}"


def _last(records: Sequence[Record], kind: str) -> Record:
    """The last record of a kind, empty if there is none."""
    return next((record for record in reversed(records) if record["kind"] == kind), {})


def _spread(leads: list[str]) -> list[str]:
    """As many lead times as a terminal has columns for, with the first and the last."""
    count = min(len(leads), _MOST_LEADS)
    return [leads[round(n * (len(leads) - 1) / max(count - 1, 1))] for n in range(count)]


def _pace(pace: Record) -> dict[str, str]:
    rows = {
        "pace": f"{pace['samples_per_second']:.3g} samples/s, {pace['seconds_per_iteration']:.3g} s per iteration",
        "waiting for data": f"{pace['data_wait_percent']:.1f}% of an iteration",
        "between iterations": f"{pace['between_iterations_percent']:.1f}% of the time",
        "peak memory": f"{pace['peak_memory_gib']:.1f} GiB",
    }
    return rows | ({"left": f"about {duration(pace['left_seconds'])}"} if "left_seconds" in pace else {})


def _ago(path: Path) -> str:
    return f"{duration(max(time.time() - path.stat().st_mtime, 0.0))} ago"
