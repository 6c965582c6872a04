"""When a model's runs may be an event loop's."""

from __future__ import annotations

from serving.server.pace import Pace

SHORT_S = 0.0005


def noted(pace: Pace, took_s: float, times: int, now_s: float = 100.0) -> Pace:
    for _ in range(times):
        pace.note(took_s, now_s, on_loop=pace.is_short(now_s))
    return pace


def test_nothing_is_short_before_it_was_seen_to_be() -> None:
    pace = Pace(SHORT_S)
    assert not pace.is_short(100.0)
    assert not noted(pace, 0.0001, 15).is_short(100.0)
    assert noted(pace, 0.0001, 1).is_short(100.0)


def test_threads_that_wait_for_each_other_do_not_hide_short_runs() -> None:
    pace = noted(Pace(SHORT_S), 0.005, 12)
    assert noted(pace, 0.0001, 4).is_short(100.0)


def test_what_is_mostly_long_never_is_the_loops() -> None:
    pace = Pace(SHORT_S)
    for _ in range(100):
        noted(pace, 0.002, 13)
        noted(pace, 0.0001, 3)
        assert not pace.is_short(100.0)


def test_a_model_that_becomes_slow_leaves_the_loop_and_may_come_back() -> None:
    pace = noted(Pace(SHORT_S), 0.0001, 16)
    assert noted(pace, 0.0001, 1000).is_short(100.0)
    runs = 0
    while pace.is_short(100.0):
        pace.note(0.005, 100.0, on_loop=True)
        runs += 1
    assert runs < 20
    assert noted(pace, 0.0001, 16).is_short(100.0)


def test_a_machine_that_stops_threads_changes_nothing() -> None:
    pace = noted(Pace(SHORT_S), 0.0001, 16)
    for _ in range(100):
        noted(pace, 0.009, 6)
        noted(pace, 0.0001, 10)
        assert pace.is_short(100.0)


def test_a_surprise_is_paid_for_ten_times() -> None:
    pace = noted(Pace(SHORT_S), 0.0001, 16)
    pace.note(0.2, 100.0, on_loop=True)
    assert not pace.is_short(101.9)
    assert pace.is_short(102.1)


def test_runs_that_threads_had_begun_do_not_count_for_the_loop() -> None:
    pace = noted(Pace(SHORT_S), 0.0001, 16)
    for _ in range(100):
        pace.note(0.05, 100.0, on_loop=False)
    assert pace.is_short(100.0)
