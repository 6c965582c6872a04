"""What each column is: numeric, categorical, date, text, or better left out; and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_pipeline.ingest import dates

# Texts that stand for a missing value. The second group are words too: they count only among
# numbers.
MARKERS = ("?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "#N/A")
ALL_MARKERS = (*MARKERS, "None", "none", "-", "--", ".", "missing", "unknown")

_TIME_NAME = re.compile(r"time|date|epoch|unix|_ts$|_at$", re.IGNORECASE)
_ID_NAME = re.compile(r"(^|_|\b)(id|uuid|guid|key|index|rownum|unnamed_\d+)$", re.IGNORECASE)
_CODE_NAME = re.compile(r"code|zip|postal|_id$|area|tract|region|category|class", re.IGNORECASE)
_FEW = 12  # A whole number of at most this many values may be a code ...
_ROWS_A_VALUE = 100  # ... if each has about this many rows to learn from.
_MAX_VOCABULARY = 1000
_DAY_PARTS = ["weekday", "day", "month"]
_YEARS_SECONDS = 3 * 365 * 86400  # Over more than three years, a date is an age too.


@dataclass(frozen=True)
class ColumnProfile:
    """One column, as `assay init` understands it.

    Attributes:
        name: Its name.
        kind: A feature's kind, or "left out".
        why: The reason, for the comment in the file.
        distinct: Number of distinct values.
        missing: Number of rows without a value.
        options: Fields of the feature that differ from their defaults.
    """

    name: str
    kind: str
    why: str
    distinct: int
    missing: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_feature(self) -> bool:
        """Whether the column becomes a feature."""
        return self.kind != "left out"


def find_markers(columns: dict[str, pa.Array], label: str) -> list[str]:
    """Texts that mean missing somewhere in the data (the label's own values never do)."""
    found: set[str] = set()
    for name, column in columns.items():
        if name == label:
            continue
        distinct = [text.strip() for text in pc.unique(column.drop_null()).to_pylist()]
        odd = {text for text in distinct if number(text) is None}
        found.update(odd.intersection(MARKERS))
        if len(odd) < len(distinct) and odd <= set(ALL_MARKERS):
            found |= odd
    return sorted(found - set(pc.unique(columns[label]).to_pylist()))


def number(text: str) -> float | None:
    """The finite number that a text states, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and "_" not in text else None


def numbers(column: pa.Array) -> np.ndarray | None:
    """A text column as float64 [N], NaN where missing; None if some text is no finite number."""
    distinct = pc.unique(column).to_pylist()
    values = np.array(
        [np.nan if text is None else _or_inf(number(text)) for text in distinct], np.float64
    )
    if np.isinf(values).any():
        return None
    positions = pc.index_in(column, pa.array(distinct, column.type)).to_numpy()
    result: np.ndarray = values[positions]
    return result


def profile_column(name: str, column: pa.Array) -> ColumnProfile:
    """Profiles one feature's column: text [N], null where missing."""
    present = column.drop_null()
    distinct, missing, rows = len(pc.unique(present)), column.null_count, len(present)

    def profile(kind: str, why: str, **options: Any) -> ColumnProfile:
        return ColumnProfile(name, kind, why, distinct, missing, options)

    if not rows:
        return profile("left out", "it is empty")
    if distinct == 1 and not missing:
        return profile("left out", f"it is {present[0].as_py()[:30]!r} in every row")
    values = numbers(present)
    if values is not None:
        return _profile_numbers(name, values, distinct, missing)
    texts = pc.unique(present).to_pylist()
    if any(text.strip().lower().lstrip("+-") in ("inf", "infinity") for text in texts):
        return profile("left out", "it holds infinite values")
    written = dates.guess(pc.unique(present))
    if written is not None:
        stamps = dates.seconds(pc.unique(present), written.format)
        parts = ["hour", "weekday", "month"] if np.any(stamps % 86400) else _DAY_PARTS
        if np.ptp(stamps) > _YEARS_SECONDS:
            parts = [*parts, "year"]
        stated = {"format": written.format} if written.format else {"unit": "iso"}
        return profile("date", _why_date(written, texts[0].strip()), **stated, parts=parts)
    length = float(np.mean([len(text) for text in texts]))
    words = float(np.mean([len(text.split()) for text in texts]))
    if (length > 40 or words >= 5) and distinct > 0.5 * rows:
        return profile("text", f"{distinct} different texts of about {words:.0f} words")
    if distinct > 0.9 * rows and (rows > 50 or _ID_NAME.search(name)):
        return profile("left out", "nearly every row has its own value")
    what = "one value, or none" if distinct == 1 else f"{distinct} values"
    return _categorical(name, distinct, missing, what)


def _why_date(written: dates.Guess, example: str) -> str:
    if not written.format:
        return "ISO dates"
    if written.format.startswith("%Y"):
        return f"dates such as {example}"
    order = "day first" if written.format.startswith("%d") else "month first"
    if not written.other:
        return f"dates such as {example}, {order}, as their numbers tell"
    return f"dates such as {example}: {order} is assumed, no number decides; else {written.other}"


def _profile_numbers(name: str, values: np.ndarray, distinct: int, missing: int) -> ColumnProfile:
    low, high, rows = float(values.min()), float(values.max()), len(values)
    is_whole = bool(np.all(values == np.floor(values)))
    if is_whole and _TIME_NAME.search(name):
        for unit, scale in (("seconds", 1.0), ("milliseconds", 1000.0)):
            if low >= 1e8 * scale and high < 5e9 * scale:
                why = f"Unix {unit}, by its name and range"
                return ColumnProfile(name, "date", why, distinct, missing, {"unit": unit})
    is_consecutive = rows > 20 and high - low == rows - 1
    if is_whole and distinct == rows > 1 and (_ID_NAME.search(name) or is_consecutive):
        return ColumnProfile(name, "left out", "it numbers the rows", distinct, missing)
    if is_whole and distinct == 2:
        return _categorical(name, distinct, missing, f"two values, {low:g} and {high:g}")
    if is_whole and distinct <= _FEW and rows >= distinct * _ROWS_A_VALUE:
        return _categorical(name, distinct, missing, f"whole numbers of only {distinct} values")
    if is_whole and _CODE_NAME.search(name) and distinct <= min(_MAX_VOCABULARY, rows / 10):
        return _categorical(name, distinct, missing, "codes, by its name")
    options: dict[str, Any] = {}
    why = f"{low:g} to {high:g}"
    if distinct > 20 and _skewness(values) > 3:
        options["log"] = True
        why += ", a few very large"
    if missing > 0.01 * (rows + missing):
        options["missing_indicator"] = True
        why += f", missing in {missing} rows"
    return ColumnProfile(name, "numeric", why, distinct, missing, options)


def _categorical(name: str, distinct: int, missing: int, why: str) -> ColumnProfile:
    options: dict[str, Any] = {}
    if distinct > _MAX_VOCABULARY:
        options["min_count"] = 2
        why += f", of which the {_MAX_VOCABULARY} most frequent count"
    return ColumnProfile(name, "categorical", why, distinct, missing, options)


def _or_inf(value: float | None) -> float:
    return np.inf if value is None else value


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    scale = centred.std()
    return float(abs(np.mean((centred / scale) ** 3))) if scale > 0 else 0.0
