"""Calendar arithmetic and ISO 8601 parsing, against the standard library's datetime."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from transform import civil, raw
from transform.config import DateFeature
from transform.date import parse_iso, to_seconds

EPOCH = date(1970, 1, 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dates(), min_size=1, max_size=30))
def test_civil_dates_agree_with_datetime(dates: list[date]) -> None:
    days = tf.constant([(d - EPOCH).days for d in dates], tf.int64)
    year, month, day = (part.numpy().tolist() for part in civil.civil_from_days(days))
    assert list(zip(year, month, day, strict=True)) == [(d.year, d.month, d.day) for d in dates]
    parts = (tf.constant(part, tf.int64) for part in (year, month, day))
    np.testing.assert_array_equal(civil.days_from_civil(*parts), days)
    assert civil.weekday_from_days(days).numpy().tolist() == [d.weekday() for d in dates]


offsets = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=offsets | st.just(UTC)),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["seconds", "milliseconds", "auto"]),
)
def test_iso_text_agrees_with_datetime(moments: list[datetime], precision: str) -> None:
    texts = [moment.isoformat(timespec=precision) for moment in moments]
    expected = [int(moment.replace(microsecond=0).timestamp()) for moment in moments]
    assert parse_iso(tf.constant(texts)).numpy().tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2023-02-29",
        "2024-13-01",
        "2024-00-10",
        "2024-01-32",
        "0000-01-01",
        "2024-01-01T24:00",
        "2024-01-01T10:60",
        "2024-01-01T1:00",
        "24-01-01",
        "2024-01-01 10:00 PM",
    ],
)
def test_text_that_is_no_date_is_missing(text: str) -> None:
    assert parse_iso(tf.constant([text])).numpy().tolist() == [raw.MISSING_INT]


def test_text_without_seconds_or_offset_is_utc() -> None:
    expected = [
        int(datetime(2024, 1, 31, h, m, tzinfo=UTC).timestamp()) for h, m in ((0, 0), (13, 45))
    ]
    assert parse_iso(tf.constant(["2024-01-31", " 2024-01-31 13:45 "])).numpy().tolist() == expected


def test_stamps_outside_of_the_calendar_are_missing() -> None:
    stamps = tf.constant([[-1500], [2**62], [raw.MISSING_INT]], tf.int64)
    seconds = to_seconds({"t": stamps}, "t", DateFeature(unit="milliseconds"))
    assert seconds.numpy().tolist() == [[-2], [raw.MISSING_INT], [raw.MISSING_INT]]
