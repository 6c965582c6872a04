"""An answer that is not there yet."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Generic, TypeVar

logger = logging.getLogger("assay.serving")

_T = TypeVar("_T")


class Answer(Generic[_T]):
    """What `concurrent.futures.Future` is, for a fifth of its time: a fast server makes one for
    each request.

    Its methods mean what the Future's do, and may be called from any thread.
    """

    __slots__ = ("_callbacks", "_cancelled", "_done", "_error", "_lock", "_result")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Answer[_T]], object]] = []
        self._done = self._cancelled = False
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Whether it is there, or never will be."""
        return self._done

    def cancelled(self) -> bool:
        """Whether nobody wanted it any more."""
        return self._cancelled

    def cancel(self) -> bool:
        """Gives it up, if it is not there; False: it is."""
        return self._end(None, CancelledError(), cancelled=True) or self._cancelled

    def set_result(self, result: _T) -> None:
        """Ends it well; does nothing where it was cancelled."""
        self._end(result, None)

    def set_exception(self, error: BaseException) -> None:
        """Ends it badly; does nothing where it was cancelled."""
        self._end(None, error)

    def add_done_callback(self, callback: Callable[[Answer[_T]], object]) -> None:
        """Has a function called with it once it ends, in the thread that ends it; or now."""
        with self._lock:
            if not self._done:
                self._callbacks.append(callback)
                return
        _call(callback, self)

    def result(self, timeout: float | None = None) -> _T:
        """Waits, at most `timeout` seconds.

        Raises:
            TimeoutError: It took longer.
            CancelledError: It was given up.
            BaseException: What it ended with.
        """
        error = self._failure(timeout)
        if error is not None:
            raise error
        result: _T = self._result
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Waits, at most `timeout` seconds; what it ended with, or None. Raises as `result`, but
        what it ended with."""
        error = self._failure(timeout)
        if self._cancelled and error is not None:
            raise error
        return error

    def _failure(self, timeout: float | None) -> BaseException | None:
        if not self._done:
            ended = threading.Event()
            self.add_done_callback(lambda _: ended.set())
            if not ended.wait(timeout):
                raise TimeoutError
        return self._error

    def _end(self, result: Any, error: BaseException | None, *, cancelled: bool = False) -> bool:
        with self._lock:
            if self._done:
                return False
            self._result, self._error, self._cancelled = result, error, cancelled
            self._done = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            _call(callback, self)
        return True


def _call(callback: Callable[[Answer[_T]], object], answer: Answer[_T]) -> None:
    try:
        callback(answer)
    except Exception:  # the others are to be called, too
        logger.exception("what was to follow an answer failed")
