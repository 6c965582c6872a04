"""Calendar arithmetic and ISO 8601 parsing, against the standard library's datetime."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_pipeline.ingest import dates
from transform import civil, raw
from transform.config import DateFeature
from transform.date import parse_text, to_seconds

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
    assert parse_text(tf.constant(texts)).numpy().tolist() == expected


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
    assert parse_text(tf.constant([text])).numpy().tolist() == [raw.MISSING_INT]


def test_text_without_seconds_or_offset_is_utc() -> None:
    expected = [
        int(datetime(2024, 1, 31, h, m, tzinfo=UTC).timestamp()) for h, m in ((0, 0), (13, 45))
    ]
    assert (
        parse_text(tf.constant(["2024-01-31", " 2024-01-31 13:45 "])).numpy().tolist() == expected
    )


def test_stamps_outside_of_the_calendar_are_missing() -> None:
    stamps = tf.constant([[-1500], [2**62], [raw.MISSING_INT]], tf.int64)
    seconds = to_seconds({"t": stamps}, "t", DateFeature(unit="milliseconds"))
    assert seconds.numpy().tolist() == [[-2], [raw.MISSING_INT], [raw.MISSING_INT]]


FORMATS = [
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d-%m-%y",
    "%Y%m%d",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%m/%Y um %H Uhr",
    "%Y%m%dT%H%M%S.%f",
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.datetimes(datetime(1969, 1, 1), datetime(2068, 12, 31)), min_size=1, max_size=20),
    st.sampled_from(FORMATS),
)
def test_text_in_a_format_agrees_with_strptime(moments: list[datetime], form: str) -> None:
    texts = [moment.strftime(form) for moment in moments]
    read = [datetime.strptime(text, form).replace(tzinfo=UTC, microsecond=0) for text in texts]
    expected = [int(moment.timestamp()) for moment in read]
    assert parse_text(tf.constant(texts), form).numpy().tolist() == expected
    assert dates.seconds(pa.array(texts), form).tolist() == expected


@pytest.mark.parametrize("form", ["", *FORMATS])
def test_the_data_are_read_as_the_graph_reads_them(form: str) -> None:
    """What ingest lets pass is what the model reads; what it refuses, the model calls missing."""
    texts = [
        *["", " ", "x", "03.10.2010", " 3.1.2010 ", "30.02.2010", "31.13.2010", "2010-10-03"],
        *["2010-10-03T10:20:30+02:00", "2010-10-03T10:20:30+25:00", "2010-02-29", "12/31/2010"],
        *["31/12/2010", "03-10-69", "03-10-68", "20100230", "20100228", "2010102", "0000-01-01"],
        *["03.10.2010 24:00", "03.10.2010 23:59", "10/03/2010 00:15:00 AM", "20100228T101112.5"],
        *["10/03/2010 12:15:00 am", "10/03/2010 12:15:60 PM", "10/03/2010 12:15:00 pm", "\u0661"],
    ]
    read = parse_text(tf.constant(texts), form).numpy()
    expected = np.where(read == raw.MISSING_INT, np.nan, read.astype(float))
    np.testing.assert_array_equal(dates.seconds(pa.array(texts), form), expected)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("%d.%m", "%Y is missing"),
        ("%d.%m.%Y %d", "one part twice"),
        ("%d. %B %Y", "'%B' is no directive"),
        ("%d.%m.%Y %I", "go together"),
    ],
)
def test_a_format_that_cannot_be_read_is_refused(form: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DateFeature(format=form)


def test_a_format_goes_with_text() -> None:
    with pytest.raises(ValueError, match="`unit: seconds` a number"):
        DateFeature(format="%d.%m.%Y", unit="seconds")


def test_a_column_in_a_format_is_read_by_it() -> None:
    texts = tf.constant([["03.10.2010"], ["2010-10-03"], [""]])
    seconds = to_seconds({"t": texts}, "t", DateFeature(format="%d.%m.%Y"))
    assert seconds.numpy().tolist() == [[1286064000], [raw.MISSING_INT], [raw.MISSING_INT]]
