import logging

import pytest

from fuxi_ens.progress import duration, is_main_process, progress


@pytest.fixture(autouse=True)
def batch_log(monkeypatch, caplog):
    for name in ("RANK", "WORLD_SIZE", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
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
    monkeypatch.setenv("WORLD_SIZE", "2")
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


def test_long_work_is_never_silent_for_long(caplog, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("fuxi_ens.progress.time.monotonic", lambda: now[0])
    with progress("training", 100_000) as advance:
        for _ in range(200):
            advance(1, "")
            now[0] += 60.0
    assert len(caplog.messages) == 20
    assert "training 11/100000, 10 min, 69 d 10 h left" in caplog.messages[1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0.4, "0 s"), (119.4, "119 s"), (120, "2 min"), (3570, "1 h 00 min"), (3660, "1 h 01 min")),
        *((47.99 * 3600, "47 h 59 min"), (48 * 3600, "2 d 0 h"), (90 * 3600, "3 d 18 h")),
    ],
)
def test_a_duration_has_two_units_at_most(seconds, words):
    assert duration(seconds) == words
