"""The pace of a run, against a clock that the tests turn themselves."""

from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_config

from fuxi_ens.train import pace as module
from fuxi_ens.train.pace import Pace, peak_memory, work_phases

FIRST = {"name": "first", "objective": "l1", "iterations": 10, "learning_rate": 1e-3}
SECOND = {"name": "second", "objective": "crps_kl", "iterations": 6, "learning_rate": 1e-3, "members": 4}


@pytest.fixture
def make_config(world, tmp_path):
    def make(*stages, **changes):
        changes = {f"train.{key}": value for key, value in changes.items()}
        return tiny_config(world, tmp_path, {"train.stages": list(stages), **changes})

    return make


class Clock:
    """Time in seconds, and iterations that take it."""

    def __init__(self):
        self.now = 1000.0

    def iterate(self, pace, wait, work, samples=2):
        with pace.waiting():
            self.now += wait
        self.now += work
        pace.step(samples)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


def test_shares_and_rates_are_those_since_the_last_record(make_config, clock):
    pace = Pace(make_config(FIRST), 0)
    clock.iterate(pace, 5.0, 5.0)
    pace.values()
    for _ in range(3):
        clock.iterate(pace, 1.0, 3.0)
    clock.now += 4.0
    values = pace.values()
    assert values["seconds_per_iteration"] == pytest.approx(4.0)
    assert values["data_wait_percent"] == pytest.approx(25.0)
    assert values["between_iterations_percent"] == pytest.approx(25.0)
    assert values["samples_per_second"] == pytest.approx(6 / 16)


def test_several_batches_make_one_iteration(make_config, clock):
    pace = Pace(make_config(FIRST), 0)
    with pace.waiting():
        clock.now += 1.0
    clock.now += 2.0
    clock.iterate(pace, 1.0, 6.0)
    values = pace.values()
    assert values["seconds_per_iteration"] == pytest.approx(10.0)
    assert values["data_wait_percent"] == pytest.approx(20.0)


def test_a_wait_that_ends_in_an_error_tells_no_wrong_time(make_config, clock):
    pace = Pace(make_config(FIRST), 0)

    def read():
        with pace.waiting():
            clock.now += 1.0
            raise KeyError

    with pytest.raises(KeyError):
        read()
    assert pace.values()["seconds_per_iteration"] == 0.0


def test_the_time_left_is_that_of_the_iterations_left(make_config, clock):
    pace = Pace(make_config(FIRST), 0)
    assert "left_seconds" not in pace.values()
    # The first iteration of a stage may compile and tells nothing.
    clock.iterate(pace, 0.0, 500.0)
    assert "left_seconds" not in pace.values()
    for _ in range(3):
        clock.iterate(pace, 1.0, 2.0)
        clock.now += 1.0
    # The break after the last of them is not known to belong to the pace yet: 11 s for 3.
    assert pace.values()["left_seconds"] == pytest.approx(6 * 11 / 3)


def test_later_stages_count_by_their_work(make_config, clock):
    both = {**SECOND, "sampled": "both", "batch_size": 2, "accumulate": 3}
    pace = Pace(make_config(FIRST, both), 0)
    for _ in range(3):
        clock.iterate(pace, 0.0, 3.0)
    # A deterministic iteration is one member through one step with its gradient; one of `both` is 2 * 4 * 2 * 3.
    assert pace.values()["left_seconds"] == pytest.approx(3.0 * (7 + 6 * 48))


def test_a_resumed_run_counts_what_is_left_only(make_config, clock):
    pace = Pace(make_config(FIRST, SECOND), 12)
    for _ in range(2):
        clock.iterate(pace, 0.0, 3.0)
    assert pace.values()["left_seconds"] == pytest.approx(2 * 3.0)


def test_a_new_stage_has_a_pace_of_its_own_from_its_second_iteration_on(make_config, clock):
    pace = Pace(make_config(FIRST, SECOND), 8)
    clock.iterate(pace, 0.0, 1.0)
    clock.iterate(pace, 0.0, 1.0)
    assert pace.values()["left_seconds"] == pytest.approx(6 * 4 * 1.0)
    clock.iterate(pace, 0.0, 100.0)
    assert pace.values()["left_seconds"] == pytest.approx(5 * 4 * 1.0)
    clock.iterate(pace, 0.0, 7.0)
    assert pace.values()["left_seconds"] == pytest.approx(4 * 7.0)


def test_work_follows_the_curriculum(make_config):
    stage = {**SECOND, "rollout_start": 2, "rollout_steps": 4, "gradient_steps": 1}
    phases = work_phases(make_config(FIRST, stage, ranks_per_sample=2).train)
    # Two members a rank; steps before the last one carry no gradient.
    assert phases == (
        (0, range(10), 3),
        (1, range(10, 12), 2 * (1 + 3)),
        (1, range(12, 14), 2 * (2 + 3)),
        (1, range(14, 16), 2 * (3 + 3)),
    )


def test_the_note_is_short_and_tells_of_later_stages_only_while_there_are_some(make_config, clock, monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda: 3 * 2**30)
    pace = Pace(make_config(FIRST, SECOND), 8)
    clock.iterate(pace, 1.0, 3.0)
    assert pace.note(0.12345) == "loss 0.1235, 0.5 samples/s, data wait 25%, 3.0 GiB"
    clock.iterate(pace, 1.0, 3.0)
    assert pace.note(0.12345) == "loss 0.1235, 0.5 samples/s, data wait 25%, 3.0 GiB, all stages 96 s left"
    for _ in range(2):
        clock.iterate(pace, 1.0, 3.0)
    assert "all stages" not in pace.note(0.1)


def test_memory_is_the_largest_that_the_process_has_held(monkeypatch):
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: False)
    held = np.ones(2**22)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert peak_memory() == pytest.approx(1024 * int(status["VmHWM"].split()[0]), rel=0.02)
    assert peak_memory() >= held.nbytes
