"""How a column of dates is written, as one RE2 pattern: ISO 8601, or a `format` of the user's.

Both sides read a text by the same pattern: Arrow's RE2 where the data are read (so that an
unreadable date is told before anything is trained), TensorFlow's RE2 in the model's graph (so that
a request's raw text is understood). No TensorFlow here.
"""

from __future__ import annotations

import re

_ISO = (
    r"^\s*(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"
    r"(?:[T ](?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?"
    r"(?:Z|z|(?P<sign>[-+])(?P<offset_hours>\d{2}):?(?P<offset_minutes>\d{2}))?)?\s*$"
)
_FIELDS = {
    "Y": "year",
    "y": "short_year",
    "m": "month",
    "d": "day",
    "H": "hour",
    "I": "hour12",
    "M": "minute",
    "S": "second",
    "p": "half",
}
_TOKEN = re.compile(r"%.?|\s+|[^%\s]+")


def pattern_of(form: str) -> str:
    """The RE2 pattern of a format; its groups are named, at most nine, and it matches whole texts.

    Args:
        form: Of the directives %Y %y %m %d %H %I %p %M %S %f, as `strptime` has them; "" is ISO
            8601. Numbers may lack their leading zero, except beside another directive.

    Raises:
        ValueError: A directive is unknown or there twice, or year, month or day is missing.
    """
    if not form:
        return _ISO
    tokens = _TOKEN.findall(form)
    parts, fields = [], []
    for position, token in enumerate(tokens):
        if token.isspace():
            parts.append(r"\s+")
        elif token[0] != "%":
            parts.append(re.escape(token))
        elif token == "%%":
            parts.append("%")
        elif token == "%f":
            parts.append(r"\d{1,9}")
        else:
            fields.append(_field(token))
            neighbours = [*tokens[max(0, position - 1) : position], *tokens[position + 1 :][:1]]
            is_fixed = any(neighbour[0] == "%" for neighbour in neighbours)
            parts.append(f"(?P<{fields[-1]}>{_digits(fields[-1], is_fixed)})")
    _check(fields)
    return rf"^\s*{''.join(parts)}\s*$"


def groups_of(pattern: str) -> dict[str, int]:
    """The pattern's groups: their numbers, from 1, by name."""
    return dict(re.compile(pattern).groupindex)


def _field(token: str) -> str:
    if token[1:] not in _FIELDS:
        known = " ".join(f"%{letter}" for letter in (*_FIELDS, "f"))
        raise ValueError(f"{token!r} is no directive that a date's format may have: {known}")
    return _FIELDS[token[1:]]


def _digits(field: str, is_fixed: bool) -> str:
    match field:
        case "year":
            return r"\d{4}"
        case "short_year":
            return r"\d{2}"
        case "half":
            return "[AaPp][Mm]"
        case _:
            return r"\d{2}" if is_fixed else r"\d{1,2}"


def _check(fields: list[str]) -> None:
    kinds = [{"short_year": "year", "hour12": "hour"}.get(field, field) for field in fields]
    if len(set(kinds)) < len(kinds):
        raise ValueError("a date's format states one part twice")
    missing = {"year": "%Y", "month": "%m", "day": "%d"}.items()
    lacking = [directive for kind, directive in missing if kind not in kinds]
    if lacking:
        raise ValueError(f"a date's format needs year, month and day; {lacking[0]} is missing")
    if ("hour12" in fields) != ("half" in fields):
        raise ValueError("%I (hours to 12) and %p (AM, PM) go together; %H has hours to 23")
