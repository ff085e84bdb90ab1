"""A requeued job that gets nowhere twice in a row is refused a third time; nothing else ever is."""

import json

import pytest

from fuxi_ens.errors import UserError
from fuxi_ens.train.attempts import note_attempt


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Begins training in a job of SLURM, or in none."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def start(position, job=None, restart=None):
        with monkeypatch.context() as inside:
            if job is not None:
                inside.setenv("SLURM_JOB_ID", str(job))
            if restart is not None:
                inside.setenv("SLURM_RESTART_COUNT", str(restart))
            note_attempt(tmp_path, position)

    return start


def attempts(folder):
    return [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]


def test_a_third_start_at_one_place_is_refused(begin):
    begin((0, 7), 5)
    begin((0, 7), 5, 1)
    with pytest.raises(UserError, match=r"job 5 began 2 times at stage 0, iteration 7 .* submit it anew"):
        begin((0, 7), 5, 2)


def test_every_start_is_noted(begin, tmp_path):
    begin((0, 7), 5)
    begin((1, 3), 5, 1)
    assert attempts(tmp_path) == [
        {"job": 5, "restart": 0, "stage": 0, "iteration": 7},
        {"job": 5, "restart": 1, "stage": 1, "iteration": 3},
    ]


def test_progress_starts_the_count_again(begin):
    for restart, iteration in enumerate((0, 0, 4, 4, 8, 8, 12)):
        begin((0, iteration), 5, restart)


def test_the_same_iteration_of_the_next_stage_is_progress(begin):
    begin((0, 0), 5)
    begin((0, 0), 5, 1)
    begin((1, 0), 5, 2)


def test_only_starts_in_a_row_count(begin):
    # A damaged newest state sends a run back; what it then reaches again is progress.
    for restart, iteration in enumerate((4, 4, 0, 4, 4)):
        begin((0, iteration), 5, restart)


def test_starts_of_another_job_do_not_count(begin):
    begin((0, 0), 5)
    begin((0, 0), 5, 1)
    begin((0, 0), 6)
    begin((0, 0), 6, 1)
    with pytest.raises(UserError, match="job 6"):
        begin((0, 0), 6, 2)


def test_commands_in_one_allocation_are_never_refused(begin):
    for _ in range(4):
        begin((0, 0), 5)


def test_outside_slurm_nothing_is_noted(begin, tmp_path):
    for _ in range(4):
        begin((0, 0))
    assert not list(tmp_path.iterdir())
