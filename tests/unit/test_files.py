import os
import shutil
import subprocess
import threading

import pytest

from fuxi_ens.files import write_atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a" / "b" / "file.json"
    write_atomic(path, b"first")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["file.json"]


@pytest.mark.parametrize("method", ["fsync", "replace"])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, method):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync" if method == "fsync" else "pathlib.Path.replace", fail)
        with pytest.raises(OSError, match="No space"):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_data_are_on_disk_before_the_name_is(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr("os.fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr("pathlib.Path.replace", lambda self, to: (order.append("replace"), replace(self, to))[1])
    write_atomic(tmp_path / "file", b"x")
    assert order[:2] == ["fsync", "replace"]


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a tiny disk needs root")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_that_leaves_nothing(full_disk):
    write_atomic(full_disk / "kept", b"k" * 1000)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(full_disk / "kept", b"n" * 1_000_000)
    assert names(full_disk) == ["kept"]
    assert (full_disk / "kept").read_bytes() == b"k" * 1000


def test_a_folder_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OSError, match="file"):
        write_atomic(tmp_path / "file" / "below", b"y")
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        write_atomic(tmp_path / "file", b"x")


def test_a_reader_sees_one_whole_content_or_the_other(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([65 + i]) * 200_000 for i in range(2)]
    write_atomic(path, contents[0])
    stop, torn = threading.Event(), []

    def read():
        while not stop.is_set():
            found = path.read_bytes()
            if found not in contents:
                torn.append(len(found))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(30):
        write_atomic(path, contents[i % 2])
    stop.set()
    reader.join()
    assert not torn


def test_two_writers_of_one_file_do_not_share_a_partial_file(tmp_path, monkeypatch):
    meet, errors = threading.Barrier(2), []
    monkeypatch.setattr("os.fsync", lambda _: meet.wait(timeout=5))

    def write(content):
        try:
            write_atomic(tmp_path / "file", content)
        except OSError as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(letter * 1000,)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not errors
    assert len(set((tmp_path / "file").read_bytes())) == 1
