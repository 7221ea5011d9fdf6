"""One thread for each model: in order, the latest wish of each owner, and no thread left over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from factviz.notebook.worker import Worker, worker_of
from tests.families import tiny_model, tiny_tokenizer


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def gate():
    """Work that waits to be let through, so that others queue behind it."""
    opened = threading.Event()
    yield opened
    opened.set()


def test_the_latest_wish_of_each_owner_is_done(gate: threading.Event) -> None:
    worker, done = Worker(), []
    worker.ask("first", gate.wait)
    until(lambda: not worker.asked_again("first"))  # it runs by now
    for number in range(3):
        worker.ask("first", lambda number=number: done.append(("first", number)))
        worker.ask("second", lambda number=number: done.append(("second", number)))
    assert worker.asked_again("first") and done == []
    gate.set()
    until(lambda: len(done) == 2)
    time.sleep(0.05)
    assert done == [("first", 2), ("second", 2)]


def test_all_work_is_done_in_one_thread_at_a_time_beside_the_caller(gate: threading.Event) -> None:
    worker, threads = Worker(), []
    for number in range(5):
        worker.ask(number, lambda: threads.append(threading.current_thread()))
    until(lambda: len(threads) == 5)
    assert threading.current_thread() not in threads
    until(lambda: not any(thread.is_alive() for thread in threads))
    worker.ask("later", lambda: threads.append(threading.current_thread()))
    until(lambda: len(threads) == 6)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_work_that_fails_does_not_end_the_worker() -> None:
    worker, done = Worker(), []
    worker.ask("one", lambda: 1 / 0)
    worker.ask("two", lambda: done.append(2))
    time.sleep(0.05)
    worker.ask("three", lambda: done.append(3))
    until(lambda: 3 in done)
    assert done == [2, 3]


def test_a_model_has_one_worker() -> None:
    import factviz as fv

    one, other = (fv.load_model(tiny_model("llama"), tokenizer=tiny_tokenizer()) for _ in range(2))
    assert worker_of(one) is worker_of(one)
    assert worker_of(one) is not worker_of(other)
