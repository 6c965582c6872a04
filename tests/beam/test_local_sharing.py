"""Work that helpers take from, while one collects the results in order."""

from __future__ import annotations

import threading
import time
from typing import Any

from tfx_pipeline.runners.beam.local.sharing import Shared

DEADLINE_S = 30


def test_shared_work() -> None:
    work = Shared("abcd", ahead=1)
    assert work.take("b") == "b"
    assert work.take("b") == "a", "another, while somebody has that one"
    assert work.take_any(lambda item: item > "c") == "d"
    work.done("a", 1)
    work.give_back("d")
    assert [work.is_open(item) for item in "abcd"] == [False, True, True, True]
    assert work.take("b") is None, "a result waits"
    assert work.take("d") == "d", "what is wanted now can be taken all the same"
    found: list[Any] = []
    helper = threading.Thread(target=lambda: found.append(work.take_any(lambda _: True)))
    helper.start()
    time.sleep(0.05)
    assert not found, "there is no room for its result"
    assert work.collect("a") == 1
    helper.join(DEADLINE_S)
    assert found == ["c"]
    waiter = threading.Thread(target=work.wait, args=("b",))
    waiter.start()
    work.done("b", 2)
    waiter.join(DEADLINE_S)
    assert not waiter.is_alive()
    work.stop()
    work.give_back("c")  # Of a worker that was ended.
    assert work.take_any(lambda _: True) is None
    assert not work.has_for(lambda _: True)
