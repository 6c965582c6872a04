"""The listener of a context hears of its own run only."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from trainer.progress import Ended, Event, Pace, Progress, Resumed, describe, left, listen, report


def test_a_listener_hears_reports_until_its_context_ends() -> None:
    heard: list[Event] = []
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


def test_the_end_is_told_of_the_weights_that_are_kept() -> None:
    stopped = Ended(550, 1750, 150, 0.7, 0.581, best=True)
    assert describe(stopped) == "stopped at 550 of 1750 steps, best val 0.581 at 150"
    to_the_end = Ended(1750, 1750, 1700, 0.7, 0.581, best=True)
    assert describe(to_the_end) == "1750 steps, best val 0.581 at 1700"
    assert describe(Ended(40, 40, 40, 0.5, None, best=False)) == "40 steps, loss 0.5"
    assert describe(Ended(40, 40, 40, 0.5, 0.25, best=False)) == "40 steps, loss 0.5, val 0.25"
    assert describe(Ended(40, 40, 40, None, None, best=False)) == "40 steps"
    assert describe(Resumed(60, 130, 2)) == "training resumed after step 60 of 130 (epoch 2)"
    auc = Ended(40, 40, 20, 0.5, 0.3, best=True, metric="val_auc", value=0.91234)
    assert describe(auc) == "40 steps, best val_auc 0.9123 at 20"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (9.9, ""),
        (42.4, ", 42 s left"),
        (130.0, ", 2 min left"),
        (5990.0, ", 1 h 40 min left"),
    ],
)
def test_time_left_is_said_where_it_is_worth_a_word(seconds: float | None, said: str) -> None:
    assert left(seconds) == said
    assert describe(Progress(10, 100, 0.5, 1, seconds_left=seconds)) == f"loss 0.5{said}"


def test_the_pace_leaves_out_what_was_before_its_first_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([100.0, 104.0, 110.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    pace = Pace()  # The first 50 steps took 100 s, of which tracing was most.
    assert pace.seconds_left(50, 1000) is None
    assert pace.seconds_left(70, 1000) == pytest.approx(930 * 4 / 20)
    assert pace.seconds_left(100, 1000) == pytest.approx(900 * 10 / 50)
