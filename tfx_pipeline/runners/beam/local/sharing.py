"""Work that several threads take from, while one takes up the results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Shared(Generic[Item]):
    """Items, each of which is taken, and then done or given back; its result is collected."""

    def __init__(self, items: Iterable[Item], ahead: int = 16) -> None:
        """Of items, in their order.

        Args:
            items: All of them.
            ahead: How many results may wait to be collected, for they take memory.
        """
        self._ahead = ahead
        self._waiting = deque(items)
        self._taken: set[Item] = set()
        self._results: dict[Item, Any] = {}
        self._is_over = False
        self._changed = threading.Condition()

    def take(self, item: Item) -> Item | None:
        """Of who collects: an item if nobody has taken it, or the first that nobody has; None where
        there is none now."""
        with self._changed:
            if item in self._waiting:
                return self._take(item)
            if self._waiting and len(self._results) < self._ahead:
                return self._take(self._waiting[0])
        return None

    def take_any(self, suits: Callable[[Item], bool]) -> Item | None:
        """Of who helps: the first that nobody has taken and that suits, when there is room for its
        result; None where there is none."""
        with self._changed:
            while True:
                found = next(filter(suits, self._waiting), None)
                if found is None:
                    return None
                if len(self._results) < self._ahead:
                    return self._take(found)
                self._changed.wait()

    def _take(self, item: Item) -> Item:
        self._waiting.remove(item)
        self._taken.add(item)
        return item

    def has_for(self, suits: Callable[[Item], bool]) -> bool:
        """Whether there is something to take that suits."""
        with self._changed:
            return any(map(suits, self._waiting))

    def done(self, item: Item, result: Any) -> None:
        """Of who has taken an item: its result."""
        with self._changed:
            self._taken.discard(item)
            self._results[item] = result
            self._changed.notify_all()

    def give_back(self, item: Item) -> None:
        """Of who has taken an item and cannot do it: it is the first in line again."""
        with self._changed:
            self._taken.discard(item)
            if not self._is_over:
                self._waiting.appendleft(item)
            self._changed.notify_all()

    def is_open(self, item: Item) -> bool:
        """Whether an item is still to be done."""
        with self._changed:
            return item in self._taken or item in self._waiting

    def wait(self, item: Item) -> None:
        """Until an item that somebody has taken is done or given back."""
        with self._changed:
            self._changed.wait_for(lambda: item not in self._taken)

    def collect(self, item: Item) -> Any:
        """The result of an item, which is no longer here then; None where there is none."""
        with self._changed:
            result = self._results.pop(item, None)
            self._changed.notify_all()
            return result

    def stop(self) -> None:
        """Nobody finds anything to take from now on."""
        with self._changed:
            self._is_over = True
            self._waiting.clear()
            self._changed.notify_all()
