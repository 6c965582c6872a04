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
from transform.date_format import groups_of, pattern_of

SECONDS_PER_DAY = 86400
# Years of 9999-12-31T23:59:59 and 0001-01-01: what ISO text can state, and `datetime` holds.
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799


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
        return parse_text(raw.column(inputs, name, tf.string), feature.format)
    stamps = raw.column(inputs, name, tf.int64)
    seconds = stamps // 1000 if feature.unit == "milliseconds" else stamps
    valid = (seconds >= _FIRST_SECOND) & (seconds <= _LAST_SECOND)
    return tf.where(valid, seconds, raw.MISSING_INT)


def parse_text(texts: tf.Tensor, form: str = "") -> tf.Tensor:
    """Unix seconds of text in a format, or in ISO 8601 (2024-01-31, ...T13:45Z, ...+02:00).

    Fractions of a second are dropped. Two digits of a year are those of 1969 to 2068, as in POSIX.

    Args:
        texts: string, any shape.
        form: See `date_format.pattern_of`; "" is ISO 8601.

    Returns:
        int64, of the same shape; `raw.MISSING_INT` where the text is no date that exists.
    """
    pattern = pattern_of(form)
    groups = groups_of(pattern)
    matches = tf.strings.regex_full_match(texts, pattern)

    def text(field: str, before: str = "") -> tf.Tensor:
        found = tf.strings.regex_replace(texts, pattern, rf"{before}\{groups[field]}")
        return tf.where(matches, found, before)

    def number(field: str) -> tf.Tensor:
        if field not in groups:
            return tf.zeros_like(texts, tf.int64)
        return tf.strings.to_number(text(field, "0"), tf.int64)

    year, month, day = number("year"), number("month"), number("day")
    hour, minute, second = number("hour"), number("minute"), number("second")
    exists = matches
    if "short_year" in groups:
        short = number("short_year")
        year = short + tf.where(short < 69, tf.constant(2000, tf.int64), 1900)
    if "hour12" in groups:
        hour12 = number("hour12")
        exists &= (hour12 >= 1) & (hour12 <= 12)
        is_pm = tf.strings.regex_full_match(text("half"), "[Pp].")
        hour = hour12 % 12 + tf.where(is_pm, tf.constant(12, tf.int64), 0)
    offset = number("offset_hours") * 3600 + number("offset_minutes") * 60
    if "sign" in groups:
        offset = tf.where(tf.equal(text("sign"), "+"), offset, -offset)
    days = civil.days_from_civil(year, month, day)
    exists &= (
        (year >= 1)
        & tf.reduce_all(
            tf.stack(civil.civil_from_days(days)) == tf.stack([year, month, day]), axis=0
        )
        & (hour < 24)
        & (minute < 60)
        & (second < 60)
        & (number("offset_hours") < 24)
        & (number("offset_minutes") < 60)
    )
    local = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second
    return tf.where(exists, local - offset, raw.MISSING_INT)


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
