"""How the numbers of a CSV are written: 27.37 or 27,37, and what groups their thousands."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from tfx_pipeline.ingest.numbers import PLAIN, NumberForm, all_fit, plain_numbers
from tfx_pipeline.init.columns import ALL_MARKERS

_COMMA = NumberForm(",")
_COMMA_GROUPED = NumberForm(",", ".")


def number_form(columns: Iterable[pa.Array], delimiter: str) -> NumberForm:
    """The form that text columns [N] state numbers in.

    A column of numbers with commas tells; 1,234 alone does so only where fields are not separated
    by commas (there it is sooner a quoted thousand). A column such as 27.37 says the contrary.
    """
    numbers = [numeric for column in columns if len(numeric := _candidates(column))]
    if any(all_fit(column, PLAIN) and _any(column, r"\.(\d{1,2}|\d{4,})$") for column in numbers):
        return PLAIN
    decisive = r",(\d{1,2}|\d{4,})$|^[-+]?0," if delimiter == "," else r",\d+$"
    found = [column for column in numbers if all_fit(column, _COMMA_GROUPED)]
    if not any(_any(column, decisive) for column in found):
        return PLAIN
    return _COMMA_GROUPED if any(_any(column, r"\d\.\d{3}") for column in found) else _COMMA


def with_points(column: pa.Array, form: NumberForm) -> pa.Array:
    """A text column whose numbers are written as Python writes them; other texts stay."""
    return column if form == PLAIN else plain_numbers(column, form)[0]


def _candidates(column: pa.Array) -> pa.Array:
    """The texts of a column that may hold numbers with marks in them, else none."""
    texts = pc.unique(pc.utf8_trim_whitespace(column.drop_null()))
    texts = texts.filter(pc.invert(pc.is_in(texts, pa.array([*ALL_MARKERS, ""], texts.type))))
    return texts if _any(texts, "[.,]") else texts[:0]


def _any(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())
