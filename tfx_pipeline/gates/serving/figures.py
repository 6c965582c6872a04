"""Figures of the serving gate as people read them."""

from __future__ import annotations

import math

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: float | None) -> str:
    """Bytes in the unit that leaves one to three digits, `247 kB`; `-` where it is not known."""
    if count is None or not math.isfinite(count):
        return "-"
    power = 0
    while power < len(_UNITS) - 1 and round(count) >= 1000:
        count, power = count / 1000, power + 1
    return f"{count:.3g} {_UNITS[power]}" if count < 10 else f"{count:.0f} {_UNITS[power]}"


def ratio(value: float | None) -> str:
    """Two decimals, `0.26`; `-` where it is not known."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def quotient(value: float | None, other: float | None) -> float | None:
    """One over the other; None where either is not known."""
    return value / other if value and other and math.isfinite(value / other) else None


def metric(value: float | None) -> str:
    """Four significant places: `0.9468`, `12.31`; `-` where it is not known."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def difference(value: float | None) -> str:
    """As `metric`, with its sign."""
    text = metric(value)
    if not any(digit in text for digit in "123456789"):
        return text.removeprefix("-") or "-"
    return text if text.startswith("-") else f"+{text}"
