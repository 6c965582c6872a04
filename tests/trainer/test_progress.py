"""The listener of a context hears of its own run only."""

from __future__ import annotations

import logging
import threading

import pytest

from trainer.progress import Progress, listen, report


def test_a_listener_hears_reports_until_its_context_ends() -> None:
    heard: list[Progress] = []
    with listen(heard.append):
        report(Progress(10, 100, 0.5, 1))
    report(Progress(20, 100, 0.4, 1))
    assert [p.step for p in heard] == [10]


def test_listeners_of_two_threads_do_not_mix() -> None:
    heard: dict[int, list[int]] = {0: [], 1: []}
    both = threading.Barrier(2)

    def node(number: int) -> None:
        with listen(lambda p: heard[number].append(p.step)):
            both.wait()
            report(Progress(number, 100, 0.5, 1))
            both.wait()

    threads = [threading.Thread(target=node, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {0: [0], 1: [1]}


def test_without_a_listener_an_epoch_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="trainer.progress"):
        report(Progress(50, 100, 0.5, 1))
        report(Progress(100, 100, 0.25, 1, 0.3, epoch_end=True))
    assert [r.getMessage() for r in caplog.records] == [
        "epoch 1: step 100 of 100, loss 0.25, val_loss 0.3"
    ]
