"""Damaged states, full disks and kills: none costs more than one state."""

import errno
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import state_world
from state_world import assert_same, load, make_store, names, save, tidied, values
from torch.distributed.checkpoint import FileSystemWriter

from fuxi_ens.errors import UserError
from fuxi_ens.train.state import Position

NEWEST = "state_00_00000002"


@pytest.fixture
def two(tmp_path):
    """A folder with the states of iterations 1 and 2."""
    store = make_store(tmp_path)
    save(store, (0, 1), 1)
    save(store, (0, 2), 2)
    return tmp_path


def change(path, edit):
    path.write_bytes(edit(bytearray(path.read_bytes())))


def flip(content, bit):
    content[bit // 8] ^= 1 << bit % 8
    return content


DAMAGES = {
    "truncated": lambda path: change(path, lambda content: content[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: change(path, lambda content: content + b"\0"),
    "deleted": Path.unlink,
    "garbage": lambda path: change(path, lambda content: random.Random(1).randbytes(len(content))),
    "bit flipped": lambda path: change(path, lambda content: flip(content, 4 * len(content) + 2)),
}


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_newest_state_costs_one_state(two, caplog, file, damage):
    damage(two / NEWEST / file)
    saved, found = load(two)
    assert saved.position == Position(0, 1)
    assert saved.counters == {"seed": 1}
    assert_same(found, values(1))
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert f"{NEWEST} is damaged ({file}" in record.message
    assert "skipping it for another state" in record.message


def test_no_flipped_bit_goes_unnoticed(two):
    rng = random.Random(2025)
    whole = make_store(two).newest()
    for file in sorted((two / NEWEST).iterdir()):
        content = file.read_bytes()
        for _ in range(60):
            file.write_bytes(flip(bytearray(content), rng.randrange(8 * len(content))))
            # White space between the values of the manifest may change, nothing else.
            found = make_store(two).newest()
            assert found.position == Position(0, 1) or (file.name == "manifest.json" and found == whole)
        file.write_bytes(content)
    assert make_store(two).newest() == whole


def test_a_folder_that_is_none_of_ours_is_not_unpickled(two):
    (two / NEWEST / "manifest.json").unlink()
    (two / "state_00_00000001" / "manifest.json").unlink()
    with pytest.raises(UserError, match="every state in .* is damaged; delete that folder to start anew"):
        make_store(two).newest()


def test_a_damaged_state_is_replaced_when_training_gets_there_again(two):
    (two / NEWEST / ".metadata").unlink()
    store = make_store(two)
    assert store.newest().position == Position(0, 1)
    save(store, (0, 2), 7)
    assert_same(load(two)[1], values(7))
    assert names(two) == ["state_00_00000001", NEWEST]


def test_a_damaged_state_takes_no_place_among_those_kept(two):
    (two / NEWEST / ".metadata").unlink()
    store = make_store(two)
    store.newest()
    (two / NEWEST).rename(two / "state_00_00000009")
    save(store, (0, 3), 3)
    assert names(two) == ["state_00_00000001", "state_00_00000003"]


def test_a_damaged_best_state_gives_way_to_the_next_best(tmp_path, caplog):
    store = make_store(tmp_path, keep=3)
    for i, score in enumerate((0.2, 0.1, 0.3), 1):
        save(store, (0, i), i, score)
    DAMAGES["bit flipped"](tmp_path / NEWEST / "__0_0.distcp")
    assert store.best().position == Position(0, 1)
    assert f"{NEWEST} is damaged (__0_0.distcp" in caplog.text


def test_an_unfinished_save_is_no_state_and_is_removed(two):
    unfinished = two / ".state_00_00000003.partial"
    shutil.copytree(two / NEWEST, unfinished)
    store = make_store(two)
    assert store.newest().position == Position(0, 2)
    assert unfinished.exists()
    save(store, (0, 4), 4)
    assert not unfinished.exists()
    assert store.newest().position == Position(0, 4)


def test_a_first_save_that_was_killed_is_no_damage(two):
    for path in two.glob("state_*"):
        path.rename(two / f".{path.name}.partial")
    assert make_store(two).newest() is None


def no_room(*_given):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


STEPS = {
    "data": (FileSystemWriter, "write_data"),
    "what joins the data": (FileSystemWriter, "finish"),
    "manifest": (sys.modules["fuxi_ens.train.state.manifest"].Manifest, "write"),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_failed_save_costs_one_state_and_two_in_a_row_end_the_run(two, monkeypatch, caplog, step):
    store = make_store(two)
    store.newest()
    with monkeypatch.context() as patch:
        patch.setattr(*step, no_room)
        save(store, (0, 3), 3)
    assert "state_00_00000003 could not be saved" in caplog.text
    assert "No space left on device" in caplog.text
    assert f"of the states the newest is {NEWEST}" in caplog.text
    assert store.last == Position(0, 2)
    assert sorted(path.name for path in two.iterdir()) == ["state_00_00000001", NEWEST]
    save(store, (0, 4), 4)
    assert store.newest().position == Position(0, 4)
    monkeypatch.setattr(*step, no_room)
    save(store, (0, 5), 5)
    with pytest.raises(UserError, match="2 states in a row could not be saved.*No space left on device.*make room"):
        save(store, (0, 6), 6)
    monkeypatch.undo()
    saved, found = load(two)
    assert saved.position == Position(0, 4)
    assert_same(found, values(4))


def test_any_error_of_the_background_is_told(two, monkeypatch, caplog):
    def broken(*_given):
        raise ZeroDivisionError("of the writer")

    store = make_store(two)
    monkeypatch.setattr(FileSystemWriter, "write_data", broken)
    save(store, (0, 3), 3)
    assert "ZeroDivisionError: of the writer" in caplog.text


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a tiny disk needs root")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_one_state(small_disk, caplog):
    store = make_store(small_disk, keep=1)
    save(store, (0, 1), 1, size=20_000)
    free = shutil.disk_usage(small_disk).free
    save(store, (0, 2), 2, size=80_000)
    assert "state_00_00000002 could not be saved: [Errno 28] No space left on device" in caplog.text
    assert shutil.disk_usage(small_disk).free == free
    saved, found = load(small_disk, size=20_000)
    assert saved.position == Position(0, 1)
    assert_same(found, values(1, 20_000))
    with pytest.raises(UserError, match="No space left on device"):
        save(store, (0, 3), 3, size=80_000)
    assert shutil.disk_usage(small_disk).free == free
    save(make_store(small_disk, keep=1), (0, 4), 4, size=20_000)
    assert load(small_disk, size=20_000)[0].position == Position(0, 4)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.005, 0.02, 0.05])
def test_killed_in_the_middle_of_a_save_costs_that_state_only(tmp_path, delay):
    program = [sys.executable, state_world.__file__, str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert [process.stdout.readline() for _ in range(3)] == ["1\n", "2\n", "3\n"], process.stderr.read()
        partial = tmp_path / ".state_00_00000004.partial"
        while not partial.exists():
            assert process.poll() is None
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    saved, found = load(tmp_path, size=2_000_000)
    assert saved.position in (Position(0, 3), Position(0, 4))
    assert_same(found, values(saved.position.iteration, 2_000_000))
    save(make_store(tmp_path), (0, 5), 5)
    assert tidied(tmp_path)
    assert load(tmp_path)[0].position == Position(0, 5)
