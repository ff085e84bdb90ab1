import logging

import pytest

from fuxi_ens.progress import is_main_process, progress


@pytest.fixture(autouse=True)
def batch_log(monkeypatch, caplog):
    for name in ("RANK", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.INFO, "fuxi_ens")


@pytest.mark.parametrize("total", [1, 3, 10, 19, 37, 1000])
def test_a_batch_log_has_a_few_lines_and_the_last_says_done(caplog, total):
    with progress("reading", total) as advance:
        for i in range(total):
            advance(1, f"note {i}")
    assert 1 <= len(caplog.messages) <= 20
    assert f"reading {total}/{total}, " in caplog.messages[-1]
    assert caplog.messages[-1].endswith(f"note {total - 1}")


def test_large_bites_are_told_too(caplog):
    with progress("reading", 100) as advance:
        advance(60, "")
        advance(40, "")
    assert [message.split(",")[0] for message in caplog.messages] == ["reading 60/100", "reading 100/100"]


def test_no_work_is_no_trouble(caplog):
    with progress("nothing", 0) as advance:
        advance(0, "")
    assert len(caplog.messages) <= 1


def test_other_ranks_are_silent(caplog, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()
    with progress("reading", 3) as advance:
        advance(3, "")
    assert not caplog.messages


def test_an_error_in_the_body_passes_through():
    with pytest.raises(KeyError), progress("reading", 3):
        raise KeyError


def test_a_resumed_run_does_not_promise_too_much(caplog, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("fuxi_ens.progress.time.monotonic", lambda: now[0])
    with progress("training", 100) as advance:
        advance(80, "resumed")
        now[0] = 5.0
        advance(10, "")
    assert ", 5 s left" in caplog.messages[1]
