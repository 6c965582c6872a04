"""Work that several threads take from, while one waits for it in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Shared(Generic[Item]):
    """Items, each of which is taken, and then done or given back.

    Attributes:
        results: Of those that are done.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.results: dict[Item, Any] = {}
        self._waiting = deque(items)
        self._taken: set[Item] = set()
        self._changed = threading.Condition()

    def has(self, item: Item) -> bool:
        """Whether an item is still to be done."""
        with self._changed:
            return item in self._taken or item in self._waiting

    def has_for(self, suits: Callable[[Item], bool]) -> bool:
        """Whether there is something to take that suits."""
        with self._changed:
            return any(map(suits, self._waiting))

    def take(self, suits: Callable[[Item], bool] = lambda _: True) -> Item | None:
        """The first that nobody has taken and that suits; None where there is none now."""
        with self._changed:
            for item in self._waiting:
                if suits(item):
                    self._waiting.remove(item)
                    self._taken.add(item)
                    return item
        return None

    def done(self, item: Item, result: Any) -> None:
        """Of who has taken an item: its result."""
        with self._changed:
            self.results[item] = result
            self._taken.discard(item)
            self._changed.notify_all()

    def give_back(self, item: Item) -> None:
        """Of who has taken an item and cannot do it: it is the first in line again."""
        with self._changed:
            self._taken.discard(item)
            self._waiting.appendleft(item)
            self._changed.notify_all()

    def wait(self, item: Item) -> None:
        """Until an item that somebody has taken is done or given back."""
        with self._changed:
            self._changed.wait_for(lambda: item not in self._taken)

    def stop(self) -> None:
        """Nobody finds anything to take from now on."""
        with self._changed:
            self._waiting.clear()
