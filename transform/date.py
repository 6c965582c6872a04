"""Points in time, to the parts of the calendar they fall in.

All but the year come as sine and cosine of their cycle, so that 23:00 lies beside 00:00 and
December beside January. Everything is UTC: an ISO text's offset is applied, a text without one is
taken as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import tensorflow as tf

from transform import civil, raw
from transform.config import DateFeature, feature_name

SECONDS_PER_DAY = 86400
# Years of 9999-12-31T23:59:59 and 0001-01-01: what ISO text can state, and `datetime` holds.
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799
_ISO = (
    r"\s*(\d{4})-(\d{2})-(\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?(?:Z|z|([-+])(\d{2}):?(\d{2}))?)?\s*"
)


def features(
    inputs: Mapping[str, raw.RawColumn], columns: Mapping[str, DateFeature]
) -> dict[str, tf.Tensor]:
    """`<column>_xf`, float32 `[N, width(feature)]`, of every date column.

    The parts stand in the config's order: sine and cosine of hour, weekday, day and month; the
    year as `(year - 2000) / 10`. The last number is 1 where the date is missing or is none, and
    the others are 0 then.
    """
    return {
        feature_name(name): encode(to_seconds(inputs, name, feature), feature.parts)
        for name, feature in columns.items()
    }


def width(feature: DateFeature) -> int:
    """Numbers a date becomes: two for each cyclic part, one for the year, one for "missing"."""
    return sum(1 if part == "year" else 2 for part in feature.parts) + 1


def to_seconds(inputs: Mapping[str, raw.RawColumn], name: str, feature: DateFeature) -> tf.Tensor:
    """A date column in Unix seconds: int64 `[N, 1]`, `raw.MISSING_INT` where it is no date."""
    if feature.unit == "iso":
        return parse_iso(raw.column(inputs, name, tf.string))
    stamps = raw.column(inputs, name, tf.int64)
    seconds = stamps // 1000 if feature.unit == "milliseconds" else stamps
    valid = (seconds >= _FIRST_SECOND) & (seconds <= _LAST_SECOND)
    return tf.where(valid, seconds, raw.MISSING_INT)


def parse_iso(texts: tf.Tensor) -> tf.Tensor:
    """Unix seconds of ISO 8601 text (2024-01-31, 2024-01-31T13:45, ...:10.5Z, ...+02:00).

    Fractions of a second are dropped.

    Args:
        texts: string, any shape.

    Returns:
        int64, of the same shape; `raw.MISSING_INT` where the text is no date that exists.
    """
    matches = tf.strings.regex_full_match(texts, _ISO)
    safe = tf.where(matches, texts, "1970-01-01")

    def number(group: int) -> tf.Tensor:
        digits = tf.strings.regex_replace(safe, _ISO, rf"0\{group}")
        return tf.strings.to_number(digits, tf.int64)

    year, month, day, hour, minute, second = (number(group) for group in range(1, 7))
    offset = number(8) * 3600 + number(9) * 60
    east = tf.equal(tf.strings.regex_replace(safe, _ISO, r"\7"), "+")
    days = civil.days_from_civil(year, month, day)
    exists = (
        matches
        & (year >= 1)
        & tf.reduce_all(
            tf.stack(civil.civil_from_days(days)) == tf.stack([year, month, day]), axis=0
        )
        & (hour < 24)
        & (minute < 60)
        & (second < 60)
        & (number(8) < 24)
        & (number(9) < 60)
    )
    local = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second
    return tf.where(exists, local - tf.where(east, offset, -offset), raw.MISSING_INT)


def encode(seconds: tf.Tensor, parts: Sequence[str]) -> tf.Tensor:
    """The parts of Unix seconds, and whether they are missing.

    Args:
        seconds: int64 `[N, 1]`.
        parts: Names of the parts, in the order wanted.

    Returns:
        float32 `[N, width]`.
    """
    missing = raw.is_missing(seconds)
    known = tf.where(missing, tf.zeros_like(seconds), seconds)
    days = known // SECONDS_PER_DAY
    year, month, day = civil.civil_from_days(days)
    hour = tf.cast(known % SECONDS_PER_DAY, tf.float32) / 3600.0
    encoded: list[tf.Tensor] = []
    for part in parts:
        match part:
            case "hour":
                encoded += _cycle(hour, 24)
            case "weekday":
                encoded += _cycle(civil.weekday_from_days(days), 7)
            case "day":
                encoded += _cycle(day - 1, 31)
            case "month":
                encoded += _cycle(month - 1, 12)
            case "year":
                encoded.append((tf.cast(year, tf.float32) - 2000.0) / 10.0)
    values = tf.concat(encoded, axis=1)
    values = tf.where(missing, tf.zeros_like(values), values)
    return tf.concat([values, tf.cast(missing, tf.float32)], axis=1)


def _cycle(position: tf.Tensor, period: int) -> list[tf.Tensor]:
    angle = tf.cast(position, tf.float32) * (2.0 * math.pi / period)
    return [tf.sin(angle), tf.cos(angle)]
