"""`python_text`: values as Python source, laid out as Black would."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

_WIDTH = 88


@dataclass(frozen=True)
class Call:
    """A call with keyword arguments."""

    function: str
    arguments: dict[str, Any]


def python_text(value: Any, indent: int = 0, used: int = 0) -> str:
    """Source of a value: on one line where it fits, else one element a line.

    Args:
        value: Of plain types, `timedelta` or `Call`.
        indent: Columns in front of the line that it starts on.
        used: Columns of that line that are taken besides.
    """
    opening, elements, closing = _taken_apart(value)
    line = opening + ", ".join(name + python_text(e, -(10**6)) for name, e in elements) + closing
    if not elements or len(line) + indent + used < _WIDTH:
        return line
    inner = indent + 4
    lines = [
        f"{' ' * inner}{name}{python_text(element, inner, len(name) + 1)},"
        for name, element in elements
    ]
    return "\n".join([opening, *lines, " " * indent + closing])


def _taken_apart(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """What stands in front of a value's elements, the elements (name, value), what stands behind.

    A value without elements is in front.
    """
    match value:
        case Call(function, arguments):
            return f"{function}(", [(f"{key}=", item) for key, item in arguments.items()], ")"
        case dict():
            return "{", [(f"{python_text(key)}: ", item) for key, item in value.items()], "}"
        case list():
            return "[", [("", item) for item in value], "]"
        case str():
            # A JSON string is a Python string, too.
            return json.dumps(value, ensure_ascii=False), [], ""
        case timedelta():
            seconds = value.total_seconds()
            return f"timedelta(seconds={int(seconds) if seconds.is_integer() else seconds})", [], ""
        case _:
            return repr(value), [], ""
