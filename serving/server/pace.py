"""Whether runs of a model are so short that changing threads would take longer."""

from __future__ import annotations

from dataclasses import dataclass

_WINDOW = 16  # runs that are judged together
_ENTER, _STAY = 4, 8  # of them must be short; in threads runs are timed that wait for each other
_SURPRISE_S = 0.02
_PENALTY = 10  # an event loop is held by surprises for at most this part of the time


@dataclass(slots=True)
class Pace:
    """How long runs take that may be an event loop's.

    Runs are counted, not averaged: any machine stops any thread now and then, and that makes no
    model a slow one.

    Attributes:
        short_s: What is short.
    """

    short_s: float
    _is_short: bool = False
    _short: int = 0  # runs of this window
    _long: int = 0
    _not_before_s: float = 0.0

    def note(self, took_s: float, now_s: float, *, on_loop: bool) -> None:
        """Counts a run that ended at `now_s` (`time.monotonic()`). From any thread; a count that
        two threads lose between them does not matter."""
        if self._is_short and not on_loop:
            return  # begun before, or by a request that may not run there
        if took_s < (2 * self.short_s if self._is_short else self.short_s):
            self._short += 1
        else:
            self._long += 1
            if self._is_short and took_s > _SURPRISE_S:
                self._not_before_s = now_s + _PENALTY * took_s
        if self._short + self._long >= _WINDOW or (self._is_short and self._long > _STAY):
            self._is_short = self._short >= (_STAY if self._is_short else _ENTER)
            self._short = self._long = 0

    def is_short(self, now_s: float) -> bool:
        """Whether the next run may hold up the thread that everybody waits for.

        No for ten times as long as one took that was far from short: a model may be quick for
        most inputs and not for all.
        """
        return self._is_short and now_s >= self._not_before_s
