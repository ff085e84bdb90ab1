"""How `fuxi-ens` ends is what a batch script decides by: the exit code, and one line or a traceback."""

import errno
import logging
import os
import signal
import subprocess
import sys

import pytest
from makers import write_run_file
from tiny_run import make_world, new_run, write_settings

from fuxi_ens.errors import ExitCode, Stopped, UserError
from pipelines.__main__ import main


@pytest.fixture
def end(monkeypatch, capsys, tmp_path):
    """Let `fuxi-ens train` end with an exception; gives the exit code and stderr."""

    def run(error):
        def fit(*_, **__):
            raise error

        monkeypatch.setattr("fuxi_ens.train.loop.fit", fit)
        # One of several ranks ends by this, which would end the tests too.
        monkeypatch.setattr(os, "_exit", sys.exit)
        monkeypatch.setattr(sys, "argv", ["fuxi-ens", "train", str(write_run_file(tmp_path))])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, capsys.readouterr().err

    yield run
    for package in ("fuxi_ens", "pipelines"):
        logging.getLogger(package).setLevel(logging.NOTSET)


def test_a_stop_on_a_signal_is_told_in_one_line(end):
    code, err = end(Stopped("stopped on SIGUSR1 after iteration 7"))
    assert code == ExitCode.STOPPED == 75
    assert err == "stopped on SIGUSR1 after iteration 7; start it again to go on from there\n"


def test_other_ranks_stop_without_a_word(end, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert end(Stopped("stopped")) == (75, "")


@pytest.mark.parametrize("error", [UserError("wrong grid"), FileNotFoundError(errno.ENOENT, "no such store")])
def test_what_the_user_can_mend_is_one_message(end, error):
    code, err = end(error)
    assert code == ExitCode.USER_ERROR == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_a_full_disk_has_its_remedy(end):
    code, err = end(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch/x"))
    assert (code, err.count("\n")) == (1, 1)
    assert "free space and run the same command again" in err


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("NCCL error"),
        ValueError("a defect"),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        OSError(errno.ESTALE, os.strerror(errno.ESTALE)),
        ConnectionResetError(errno.ECONNRESET, "gone"),
    ],
    ids=str,
)
def test_what_starting_again_may_mend_is_a_traceback_and_another_code(end, error):
    code, err = end(error)
    assert code == ExitCode.UNEXPECTED == 70
    assert "Traceback" in err
    assert str(error) in err


def test_ctrl_c_says_how_to_go_on(end, caplog):
    code, err = end(KeyboardInterrupt())
    assert code == 130
    assert "Traceback" not in err
    assert caplog.messages == ["interrupted; the same command goes on from the newest saved state"]


def test_ctrl_c_is_told_by_one_rank(end, monkeypatch, caplog):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert end(KeyboardInterrupt())[0] == 130
    assert caplog.messages == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_while_training_gets_ready_stops_it_in_order(tmp_path, number):
    config = new_run(make_world(tmp_path / "world"), tmp_path / "run", {"train.stages.0.iterations": 100_000})
    settings = write_settings(config, tmp_path / "run.yaml")
    # As early as the command can hear: long before there is anything to stop.
    code = (
        "import os, signal\nfrom fuxi_ens.config import load_config\nfrom pipelines import train\n"
        f"train.load_config = lambda *given: (os.kill(os.getpid(), {int(number)}), load_config(*given))[1]\n"
        "from pipelines.__main__ import main; main()"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, "train", settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == ExitCode.STOPPED, done.stderr
    assert "start it again to go on from there" in done.stderr
    assert list((tmp_path / "run" / "training").glob("state_*/manifest.json"))
