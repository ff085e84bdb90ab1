"""How fast a training goes: samples, waiting for data, memory, and the time that is left.

Clocks of the host only; nothing here waits for a device.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch

from fuxi_ens.config import Config, StageConfig, TrainConfig
from fuxi_ens.progress import duration
from fuxi_ens.train.schedule import phases

_GIB = 2**30


class WorkPhase(NamedTuple):
    """Iterations of equal work."""

    stage: int
    iterations: range
    """Counted over all stages."""
    work: int
    """Of one iteration on one rank: passes of a member through a model step, backward as two more."""


@dataclass
class _Span:
    """Iterations since the last record, times in seconds."""

    began: float
    iterations: int = 0
    samples: int = 0
    waited: float = 0.0
    worked: float = 0.0
    """Within iterations, the wait included; not between them, where records, validations and states are written."""

    def figures(self, now: float) -> dict[str, float]:
        wall = now - self.began
        return {
            "samples_per_second": _share(self.samples, wall),
            "seconds_per_iteration": _share(self.worked, self.iterations),
            "data_wait_percent": 100.0 * _share(self.waited, self.worked),
            "between_iterations_percent": 100.0 * _share(wall - self.worked, wall),
            "peak_memory_gib": peak_memory() / _GIB,
        }


class Pace:
    """Takes the times of a run: `waiting` around the wait for each batch, `step` after each iteration."""

    def __init__(self, config: Config, done: int) -> None:
        """`done` iterations, over all stages, lie behind a run that is resumed."""
        self._phases, self._done = work_phases(config.train), done
        self._span = _Span(time.monotonic())
        self._iteration_began: float | None = None
        self._stage: int | None = None
        self._stage_began, self._stage_work = 0.0, 0
        self._seconds_per_work: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch; the first one of an iteration begins it."""
        began = time.monotonic()
        if self._iteration_began is None:
            self._iteration_began = began
        yield
        self._span.waited += time.monotonic() - began

    def step(self, samples: int) -> None:
        """An iteration over so many samples of all ranks is done."""
        now = time.monotonic()
        self._span.iterations += 1
        self._span.samples += samples
        self._span.worked += now - (now if self._iteration_began is None else self._iteration_began)
        self._iteration_began = None
        self._learn(now)
        self._done += 1

    def values(self) -> dict[str, float]:
        """Figures of the iterations since the last call, and the seconds that all stages take on, once known."""
        now = time.monotonic()
        figures = self._span.figures(now)
        self._span = _Span(now)
        left = self._left()
        return figures if left is None else {**figures, "left_seconds": left}

    def note(self, loss: float) -> str:
        """The present state for a line of progress, which says itself how long its stage takes on."""
        figures = self._span.figures(time.monotonic())
        words = (
            f"loss {loss:.4f}, {figures['samples_per_second']:.3g} samples/s, "
            f"data wait {figures['data_wait_percent']:.0f}%, {figures['peak_memory_gib']:.1f} GiB"
        )
        left = self._left()
        more = self._stage != self._phases[-1].stage
        return f"{words}, all stages {duration(left)} left" if more and left is not None else words

    def _learn(self, now: float) -> None:
        """What a unit of work takes in this stage.

        From its first iteration on, which itself may compile; with all that happens between iterations.
        """
        phase = next(phase for phase in self._phases if self._done in phase.iterations)
        if phase.stage != self._stage:
            self._stage, self._stage_began, self._stage_work = phase.stage, now, 0
            return
        self._stage_work += phase.work
        self._seconds_per_work = (now - self._stage_began) / self._stage_work

    def _left(self) -> float | None:
        if self._seconds_per_work is None:
            return None
        work = sum(len(range(max(self._done, it.start), it.stop)) * work for _, it, work in self._phases)
        return work * self._seconds_per_work


def work_phases(train: TrainConfig) -> tuple[WorkPhase, ...]:
    """All iterations of a training in order, with their work.

    It serves to carry the pace of one stage over to others, so it counts passes of the forecast network only.
    """
    out, first = [], 0
    for number, stage in enumerate(train.stages):
        members = 1 if stage.objective == "l1" else -(-stage.members // train.ranks_per_sample)
        samples = stage.batch_size * stage.accumulate * members * (2 if _draws_twice(stage) else 1)
        for iterations, steps in phases(stage):
            scored = stage.gradient_steps or steps
            where = range(first + iterations.start, first + iterations.stop)
            out.append(WorkPhase(number, where, samples * (steps + 2 * scored)))
        first += stage.iterations
    return tuple(out)


def peak_memory() -> int:
    """Bytes that this process has held at most: tensors on the GPU if there is one, else all it has in RAM."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _draws_twice(stage: StageConfig) -> bool:
    return stage.objective == "crps_kl" and stage.sampled == "both"


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
