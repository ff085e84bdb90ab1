"""Work divided by locks: each item is made once, by whoever is alive."""

import errno
import fcntl
import signal
import time

import pytest
from tiny_run import start

from fuxi_ens.forecast import claims as module
from fuxi_ens.forecast.claims import Claims, claimed

WORKER = """
import sys, time
from pathlib import Path
from fuxi_ens.forecast.claims import Claims, claimed
folder, rank, world, count, seconds = Path(sys.argv[1]), *map(int, sys.argv[2:5]), float(sys.argv[5])
claims = Claims(folder / "claims")
for item, to_make in claimed(range(count), rank, world, lambda n: (folder / f"done-{n}").exists(), claims):
    if to_make:
        with (folder / "log").open("a") as log:
            log.write(f"{rank} {item}\\n")
        (folder / f"begun-{item}").touch()
        time.sleep(seconds)
        (folder / f"done-{item}").touch()
"""


@pytest.fixture
def claims(tmp_path):
    claims = Claims(tmp_path / "folder" / "claims")
    yield claims
    claims.close()


@pytest.fixture
def worker(tmp_path):
    processes = []

    def begin(rank, world, count, seconds=0.02):
        processes.append(start(WORKER, tmp_path, rank, world, count, seconds))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def taken(claims, count, rank, world, done=()):
    return [n for n, to_make in claimed(range(count), rank, world, lambda n: n in done, claims) if to_make]


def log(folder):
    return [tuple(map(int, line.split())) for line in (folder / "log").read_text().splitlines()]


def wait_for(path):
    while not path.exists():
        time.sleep(0.005)


def test_a_process_alone_makes_all_in_order(claims):
    assert taken(claims, 5, 0, 1) == [0, 1, 2, 3, 4]


def test_a_process_begins_with_its_own_share(claims):
    assert taken(claims, 7, 1, 3) == [1, 4, 0, 2, 3, 5, 6]


def test_what_is_finished_is_told_and_not_made(claims):
    got = list(claimed([3, 4, 5], 0, 1, lambda n: n == 4, claims))
    assert got == [(3, True), (4, False), (5, True)]


def test_no_items_are_no_work(claims):
    assert taken(claims, 0, 0, 1) == []


def test_what_another_finishes_between_look_and_claim_is_not_made(claims):
    answers = iter([False, True])
    assert list(claimed([0], 0, 1, lambda n: next(answers), claims)) == [(0, False)]


@pytest.mark.parametrize("world", [1, 3])
def test_processes_make_each_item_once(worker, tmp_path, world):
    processes = [worker(rank, world, 12) for rank in range(world)]
    assert [process.wait(60) for process in processes] == [0] * world
    assert sorted(item for _, item in log(tmp_path)) == list(range(12))


def test_processes_that_know_nothing_of_each_other_share_the_work_too(worker, tmp_path):
    processes = [worker(0, 1, 12) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert sorted(item for _, item in log(tmp_path)) == list(range(12))


def test_what_a_killed_process_held_is_made_by_another_that_waits_for_it(worker, tmp_path):
    dying = worker(0, 2, 3, 60)
    wait_for(tmp_path / "begun-0")
    other = worker(1, 2, 3)
    wait_for(tmp_path / "done-1")
    wait_for(tmp_path / "done-2")
    assert other.poll() is None
    dying.send_signal(signal.SIGKILL)
    assert other.wait(60) == 0
    assert log(tmp_path)[0] == (0, 0)
    assert sorted(log(tmp_path)[1:]) == [(1, 0), (1, 1), (1, 2)]


class TestDiskWithoutLocks:
    @pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
    def claims(self, tmp_path, monkeypatch, request):
        def refuse(*_):
            raise OSError(request.param, "no locks")

        monkeypatch.setattr(fcntl, "lockf", refuse)
        claims = Claims(tmp_path / "claims")
        yield claims
        claims.close()

    def test_each_process_does_its_own_share_only(self, claims):
        assert taken(claims, 7, 1, 3) == [1, 4]

    def test_the_user_is_told(self, claims, caplog, tmp_path):
        Claims(tmp_path / "again").close()
        assert "without file locks" in caplog.text

    def test_another_failure_of_the_disk_is_one(self, tmp_path, monkeypatch):
        def fail(*_):
            raise OSError(errno.EIO, "broken")

        monkeypatch.setattr(module.fcntl, "lockf", fail)
        with pytest.raises(OSError, match="broken"):
            Claims(tmp_path / "broken")
