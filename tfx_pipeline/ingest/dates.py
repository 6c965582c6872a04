"""Dates written as text: read as the model's graph reads them, told when they are none, guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.ingest.faults import BadValues, shown
from transform.date_format import groups_of, pattern_of

if TYPE_CHECKING:
    import pyarrow as pa

_CLOCKS = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


@dataclass(frozen=True)
class Guess:
    """How dates are written: `format` ("" for ISO 8601), and `other`, which would do as well."""

    format: str
    other: str = ""


def seconds(texts: pa.Array, form: str) -> np.ndarray:
    """Dates as Unix seconds, as `transform.date.parse_text` reads them.

    Args:
        texts: Length N: text or bytes.
        form: As in the config; "" is ISO 8601.

    Returns:
        float64 [N], NaN where the text is no date that exists.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    pattern = pattern_of(form)
    groups = groups_of(pattern)
    found = pc.extract_regex(texts.cast(pa.large_binary()), pattern)
    matches = pc.is_valid(found).to_numpy(zero_copy_only=False)

    def text(field: str) -> pa.Array:
        return pc.fill_null(pc.struct_field(found, field).cast(pa.large_string()), "")

    def number(field: str) -> np.ndarray:
        if field not in groups:
            return np.zeros(len(texts), np.int64)
        digits = text(field)
        return np.asarray(pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64()))

    year, month, day = number("year"), number("month"), number("day")
    hour = number("hour")
    exists = matches
    if "short_year" in groups:
        short = number("short_year")
        year = short + np.where(short < 69, 2000, 1900)
    if "hour12" in groups:
        hour12 = number("hour12")
        exists = exists & (hour12 >= 1) & (hour12 <= 12)
        is_pm = np.asarray(pc.match_substring_regex(text("half"), "^[Pp]"))
        hour = hour12 % 12 + np.where(is_pm, 12, 0)
    offset_hours, offset_minutes = number("offset_hours"), number("offset_minutes")
    offset = offset_hours * 3600 + offset_minutes * 60
    if "sign" in groups:
        offset = np.where(np.asarray(pc.equal(text("sign"), "+")), offset, -offset)
    minute, second = number("minute"), number("second")
    months = np.clip((year - 1970) * 12 + month - 1, -(2**20), 2**20).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    length = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    exists = exists & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)
    exists &= (hour < 24) & (minute < 60) & (second < 60)
    exists &= (offset_hours < 24) & (offset_minutes < 60)
    days = first.astype(np.int64) + day - 1
    stamps = days * 86400 + hour * 3600 + minute * 60 + second - offset
    return np.where(exists, stamps, np.nan)


def unreadable(lists: pa.Array, form: str) -> list[BadValues]:
    """The values of a date column that are no dates; the model would take them for missing.

    Args:
        lists: What `typed_lists` made of the column, length N.
        form: The column's.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    texts = lists.flatten()
    is_blank = np.asarray(pc.match_substring_regex(texts, r"^\s*$"))
    bad = np.flatnonzero(np.isnan(seconds(texts, form)) & ~is_blank)
    if not len(bad):
        return []
    rows = np.repeat(np.arange(len(lists)), lengths)
    problem = f"is not a date written as {form!r}" if form else "is not an ISO 8601 date"
    examples = texts.take(pa.array(bad[:1000]))
    first = texts[int(bad[0])].as_py().decode(errors="backslashreplace")
    hint = _hint(examples, form, is_all=len(bad) == np.count_nonzero(~is_blank))
    return [BadValues(int(rows[bad[0]]), shown(first), problem, hint, len(bad), rows[bad])]


def guess(texts: pa.Array) -> Guess | None:
    """How distinct texts are written, if all of them are dates of one format.

    What could be day or month first is decided by a number above 12. Where there is none, dots
    and dashes are taken for day first and slashes for month first, and `other` is the other one.
    """
    if not len(texts) or texts[0].as_py() is None:
        return None
    for form in ("", *_candidates(_text(texts[0].as_py()))):
        # The first alone says no to nearly every format, before all are read.
        if not np.isnan(seconds(texts[:1], form))[0] and _all(texts, form):
            return Guess(form, _other(texts, form))
    return None


def _candidates(first: str) -> list[str]:
    separators = [mark for mark in "./-" if first.count(mark) == 2]
    found = []
    for mark in separators:
        orders = ["d m Y", "m d Y", "d m y", "m d y", "Y m d"]
        if mark == "/":
            orders = ["m d Y", "d m Y", "m d y", "d m y", "Y m d"]
        dates = [mark.join(f"%{part}" for part in order.split()) for order in orders]
        found += [date + clock for date in dates for clock in _CLOCKS]
    return found


def _other(texts: pa.Array, form: str) -> str:
    swapped = form.translate(str.maketrans("dm", "md"))
    is_ambiguous = form.startswith(("%d", "%m")) and _all(texts, swapped)
    return swapped if is_ambiguous else ""


def _all(texts: pa.Array, form: str) -> bool:
    import pyarrow.compute as pc

    if "%y" in form:  # 1.2.10 is a version sooner than a date: take nothing but 01.02.10.
        is_padded = pc.match_substring_regex(texts, r"^\s*\d{2}\D\d{2}\D\d{2}(\D|$)")
        if not pc.all(is_padded).as_py():
            return False
    return not np.isnan(seconds(texts, form)).any()


def _hint(bad: pa.Array, form: str, *, is_all: bool) -> str:
    if not is_all:
        return "Mend the value, or add it to `data.missing_values` if it means missing."
    found = guess(bad)
    if found and found.format:
        either = f" (or {found.other!r})" if found.other else ""
        return f"Give the column `format: {found.format!r}`{either}."
    if found:
        return "Drop `format`: these are ISO 8601 dates."
    if _numbers_only(bad):
        return "Unix time needs `unit: seconds` or `unit: milliseconds`."
    return "State how dates are written with `format`, for instance `%d.%m.%Y`."


def _numbers_only(texts: pa.Array) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(texts, r"^\d{9,13}$")).as_py())


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
