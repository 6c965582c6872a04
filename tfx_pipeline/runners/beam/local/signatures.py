"""What Beam asks each function object for, found out once for its class.

Beam looks through all methods of a `DoFn` for states and timers, for each object: with a TFT
dataset a span these are thousands of the same few classes, and a quarter of a job's time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

from apache_beam.transforms import userstate

_NAME = "get_dofn_specs"
_LOCK = threading.Lock()
_users = 0
_stock: Any = None
# Classes, with the methods that objects have exchanged, that have neither states nor timers.
_stateless: set[tuple[type, frozenset[str]]] = set()


@contextmanager
def once_a_class() -> Iterator[None]:
    """While this is open, in any thread, Beam looks through a class of functions once.

    There is no hook: `userstate.get_dofn_specs` is bound to a function that gives what that one
    gives, and bound back behind the last that has this open. Nothing is exchanged in a version of
    Beam without that name.
    """
    global _users, _stock
    with _LOCK:
        _users += 1
        if _users == 1 and hasattr(userstate, _NAME):
            _stock = getattr(userstate, _NAME)
            setattr(userstate, _NAME, _specs)
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if _users == 0 and _stock is not None:
                setattr(userstate, _NAME, _stock)
                _stock = None
                _stateless.clear()


def _specs(function: Any) -> tuple[set[Any], set[Any]]:
    """As Beam's: the specs of a function's states and timers."""
    key = _key(function)
    if key in _stateless:
        return set(), set()
    stock = _stock or userstate.get_dofn_specs  # Another thread may have bound it back.
    found: tuple[set[Any], set[Any]] = stock(function)
    if key is not None and not any(found):
        _stateless.add(key)
    return found


def _key(function: Any) -> tuple[type, frozenset[str]] | None:
    """What the specs follow from; None where the object itself has to be looked through: it has
    methods of its own, or its class finds attributes in its own way."""
    kind: Any = type(function)
    own = vars(function) if hasattr(function, "__dict__") else {}
    if (
        kind.__getattribute__ is not object.__getattribute__
        or kind.__dir__ is not object.__dir__
        or any(isinstance(value, MethodType) for value in own.values())
    ):
        return None
    return kind, frozenset(name for name in own if hasattr(kind, name))
