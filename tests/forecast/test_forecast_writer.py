"""The writer's thread: order, bounded waiting, errors that come back, nothing lost."""

import threading

import pytest

from fuxi_ens.forecast.writer import BackgroundWriter


@pytest.fixture
def writer():
    writer = BackgroundWriter(2)
    yield writer
    writer.close()


def fail():
    raise OSError(28, "No space left on device")


def submit_many(writer, job):
    for _ in range(1000):
        writer.submit(job)


def test_jobs_are_done_in_order_and_all_of_them(writer):
    done = []
    for number in range(50):
        writer.submit(lambda number=number: done.append(number))
    writer.close()
    assert done == list(range(50))


def test_jobs_are_done_in_another_thread(writer):
    threads = []
    writer.submit(lambda: threads.append(threading.current_thread()))
    writer.close()
    assert threads != [threading.current_thread()]


def test_a_caller_who_is_ahead_waits():
    writer, gate, ahead = BackgroundWriter(2), threading.Event(), threading.Event()

    def run_ahead():
        # One is being done, two wait, and the fourth has no room.
        for _ in range(4):
            writer.submit(gate.wait)
        ahead.set()

    caller = threading.Thread(target=run_ahead)
    caller.start()
    assert not ahead.wait(0.2)
    gate.set()
    assert ahead.wait(10)
    caller.join()
    writer.close()


def test_an_error_comes_back_at_the_next_job(writer):
    failed = threading.Event()

    def failing():
        try:
            fail()
        finally:
            failed.set()

    writer.submit(failing)
    failed.wait(10)
    with pytest.raises(OSError, match="No space left"):
        submit_many(writer, lambda: None)


def test_an_error_comes_back_at_the_end():
    writer = BackgroundWriter(2)
    writer.submit(fail)
    with pytest.raises(OSError, match="No space left"):
        writer.close()


def test_an_error_that_was_told_is_not_told_again():
    writer = BackgroundWriter(1)
    with pytest.raises(OSError, match="No space left"):
        submit_many(writer, fail)
    writer.close()


def test_nothing_is_done_after_an_error():
    writer, done = BackgroundWriter(2), []
    gate = threading.Event()
    writer.submit(lambda: gate.wait(10) and fail())
    writer.submit(lambda: done.append("marked"))
    gate.set()
    with pytest.raises(OSError, match="No space left"):
        writer.close()
    assert done == []


def test_closing_twice_is_harmless(writer):
    writer.close()
    writer.close()
