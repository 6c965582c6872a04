"""An answer that comes later: from any thread, once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import pytest

from serving.server.answers import Answer


def test_who_waits_gets_the_result_of_another_thread() -> None:
    answer: Answer[bytes] = Answer()
    assert not answer.done()
    threading.Timer(0.05, answer.set_result, [b"y"]).start()
    assert answer.result(20) == b"y"
    assert answer.done()
    assert not answer.cancelled()
    assert answer.exception() is None


def test_who_waits_gets_the_error() -> None:
    answer: Answer[bytes] = Answer()
    threading.Timer(0.05, answer.set_exception, [ValueError("no")]).start()
    with pytest.raises(ValueError, match="no"):
        answer.result(20)
    assert isinstance(answer.exception(), ValueError)


def test_waiting_has_an_end() -> None:
    answer: Answer[bytes] = Answer()
    for wait in (answer.result, answer.exception):
        with pytest.raises(TimeoutError):
            wait(0.01)
    answer.set_result(b"late")
    assert answer.result() == b"late"


def test_callbacks_are_called_once_before_or_after_the_end() -> None:
    answer: Answer[int] = Answer()
    called: list[tuple[str, int]] = []
    answer.add_done_callback(lambda done: called.append(("before", done.result())))
    answer.set_result(3)
    answer.add_done_callback(lambda done: called.append(("after", done.result())))
    assert called == [("before", 3), ("after", 3)]


def test_a_callback_that_fails_keeps_nobody_from_the_answer(caplog) -> None:
    answer: Answer[int] = Answer()
    called: list[int] = []
    answer.add_done_callback(lambda _: 1 // 0)
    answer.add_done_callback(lambda done: called.append(done.result()))
    answer.set_result(3)
    assert called == [3]
    assert "ZeroDivisionError" in caplog.text


def test_what_is_cancelled_stays_so() -> None:
    answer: Answer[int] = Answer()
    called: list[bool] = []
    answer.add_done_callback(lambda done: called.append(done.cancelled()))
    assert answer.cancel()
    answer.set_result(3)
    answer.set_exception(ValueError())
    assert called == [True]
    for wait in (answer.result, answer.exception):
        with pytest.raises(CancelledError):
            wait()


def test_what_is_there_cannot_be_cancelled() -> None:
    answer: Answer[int] = Answer()
    answer.set_result(3)
    assert not answer.cancel()
    assert answer.result() == 3


def test_many_threads_end_it_and_each_callback_is_called_once() -> None:
    for _ in range(200):
        answer: Answer[int] = Answer()
        called: list[int] = []
        start = threading.Barrier(3)

        def end(value: int, answer=answer, start=start) -> None:
            start.wait(20)
            answer.set_result(value)

        threads = [threading.Thread(target=end, args=(value,)) for value in (1, 2)]
        for thread in threads:
            thread.start()
        start.wait(20)
        answer.add_done_callback(lambda done, called=called: called.append(done.result()))
        for thread in threads:
            thread.join()
        deadline = time.monotonic() + 20
        while not called and time.monotonic() < deadline:
            time.sleep(0.001)
        assert called in ([1], [2])
