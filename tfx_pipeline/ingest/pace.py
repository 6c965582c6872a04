"""Keeps pyarrow from reading a CSV far ahead of who takes its batches: by 32 blocks, it would."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Batch = TypeVar("Batch")

_AHEAD = 4
_IN_VAIN_S = 0.1


class Pace:
    """Between a thread that reads blocks and one that takes what was made of them.

    Blocks and batches need not be as many: while somebody waits for a batch in vain, the reader
    goes on.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ahead = 0
        self._is_awaited = True  # Whoever opens the file waits for its first rows.
        self._is_over = False

    def goes_on(self) -> bool:
        """Before each block: waits for its turn. False: nobody takes batches any more."""
        with self._changed:
            while not self._is_over and self._ahead >= _AHEAD:
                if not self._changed.wait(_IN_VAIN_S) and self._is_awaited:
                    self._ahead -= 1  # Empty lines take blocks and make no batch, for one.
            self._ahead += 1
            return not self._is_over

    def keeping(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches."""
        left = iter(batches)
        while True:
            self._is_awaited = True
            batch = next(left, None)
            self._is_awaited = False
            if batch is None:
                return
            with self._changed:
                self._ahead = max(0, self._ahead - 1)
                self._changed.notify_all()
            yield batch

    def end(self) -> None:
        """Ends the reading, wherever it is; whoever made this calls it, whatever happens."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
