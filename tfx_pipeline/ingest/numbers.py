"""Numbers written as text: in the config's form (27,37 or 1.234,5), told when they are none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfx_pipeline.ingest import dates
from tfx_pipeline.ingest.faults import BadValues, bad_values
from tfx_pipeline.ingest.nulls import without

if TYPE_CHECKING:
    import pyarrow as pa

_NO_NUMBER = "no number"
_EXACT = 2**53  # Below, no two whole numbers are the same float64.
_WIDE_SPACES = "[\u00a0\u202f\u2009]"  # What French and Swiss programs group digits with.


@dataclass(frozen=True)
class NumberForm:
    """How text states numbers: `data.decimal` and `data.thousands`."""

    decimal: str = "."
    thousands: str = ""


PLAIN = NumberForm()
# From the usual to the odd: the first that fits is what an error or `assay init` proposes.
FORMS = (
    NumberForm(","),
    NumberForm(",", "."),
    NumberForm(",", " "),
    NumberForm(".", ","),
    NumberForm(".", " "),
    NumberForm(".", "'"),
)


def plain_numbers(text: pa.Array, form: NumberForm) -> tuple[pa.Array, pa.Array]:
    """Numbers as Python and Arrow write them: a decimal point, nothing between thousands.

    Args:
        text: Length N, without spaces around it.
        form: How the numbers are written.

    Returns:
        Text, length N, changed where it is a number in the form; and bool, length N: where it is
        not, though it has a mark that numbers have (27.37, where the decimal is a comma).
    """
    import pyarrow.compute as pc

    decimal, thousands = re.escape(form.decimal), re.escape(form.thousands)
    pattern = rf"[-+]?(\d+({decimal}\d*)?|{decimal}\d+)([eE][-+]?\d+)?"
    if form.thousands == " ":
        text = pc.replace_substring_regex(text, _WIDE_SPACES, " ")
    if form.thousands:
        pattern = rf"{pattern}|[-+]?\d{{1,3}}({thousands}\d{{3}})+({decimal}\d*)?"
    fits = pc.match_substring_regex(text, f"^({pattern})$")
    plain = pc.replace_substring(text, form.thousands, "") if form.thousands else text
    plain = pc.replace_substring(plain, form.decimal, ".")
    is_odd = pc.and_(pc.invert(fits), pc.match_substring_regex(text, "[.,]"))
    return pc.if_else(fits, plain, text), is_odd


def all_fit(texts: pa.Array, form: NumberForm) -> bool:
    """Whether every text is a number in the form."""
    import pyarrow.compute as pc

    plain, is_odd = plain_numbers(texts, form)
    is_number = pc.match_substring_regex(plain, r"^[-+]?[\d.]+([eE][-+]?\d+)?$")
    return bool(pc.all(pc.and_(is_number, pc.invert(is_odd))).as_py())


def parse_numbers(
    text: pa.Array, missing: list[str], form: NumberForm, *, whole: bool
) -> tuple[pa.Array, list[BadValues]]:
    """Text as float64, or as int64 where `whole` and all are; null where it means missing.

    Args:
        text: Length N.
        missing: Texts that mean missing.
        form: How the numbers are written.
        whole: Whether whole numbers are wanted: they are read exactly then.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if form == PLAIN and set(missing) <= {""} and (numbers := _quickly(text, whole)) is not None:
        return numbers, []
    text = pc.utf8_trim_whitespace(text)
    text = without(text, pc.is_in(text, pa.array(missing, text.type)))
    arrow_type = pa.int64() if whole else pa.float64()
    plain = text
    if form != PLAIN:
        plain, is_odd = plain_numbers(text, form)
        plain = pc.if_else(is_odd, _NO_NUMBER, plain)
    try:
        return plain.cast(arrow_type), []
    except pa.ArrowInvalid:
        pass  # At least one is odd: go through the distinct values one by one.
    distinct = pc.unique(plain)
    parsed = [_parse(value, whole) for value in distinct.to_pylist()]
    good = [number is not None for number in parsed]
    position = pc.index_in(plain, distinct)
    is_bad = pc.and_(pc.is_valid(text), pc.invert(pc.take(pa.array(good), position)))
    if pc.any(is_bad).as_py():
        hint = _hint(pc.unique(text.filter(is_bad))[:1000], form)
        return pa.nulls(len(text), arrow_type), bad_values(text, is_bad, "is not a number", hint)
    if whole and all(isinstance(number, int) for number in parsed if number is not None):
        return pc.take(pa.array(parsed, pa.int64()), position), []
    return pc.take(pa.array([_float(number) for number in parsed], pa.float64()), position), []


def _quickly(text: pa.Array, whole: bool) -> pa.Array | None:
    """The numbers of a column in which nothing is odd, or None: four times as fast."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_empty = pc.equal(pc.binary_length(text), 0)
    if pc.any(is_empty).as_py():
        text = without(text, is_empty)
    if whole:
        try:
            text[:256].cast(pa.int64())  # A column of 8.0 takes as long to fail as it has rows.
            return text.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
    try:
        numbers = text.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    is_exact = not whole or pc.all(pc.less(pc.abs(numbers), _EXACT)).as_py() is not False
    return numbers if is_exact else None


def _parse(text: str | None, whole: bool) -> float | int | None:
    if text is None or "_" in text:  # Python reads 1_000 as a number, no CSV means it.
        return None
    if whole:
        try:
            number = int(text)
            return number if -(2**63) <= number < 2**63 else float(number)
        except ValueError:
            pass
    try:
        found = float(text)
    except ValueError:
        return None
    # So that 8.0 makes no float64 of the other numbers, which may be larger than it holds.
    return int(found) if whole and found.is_integer() and abs(found) < _EXACT else found


def _float(number: float | int | None) -> float | None:
    return None if number is None else float(number)


def _hint(bad: pa.Array, form: NumberForm) -> str:
    for other in FORMS:
        if other != form and all_fit(bad, other) and _groups(bad, other):
            thousands = f" and `data.thousands: {other.thousands!r}`" if other.thousands else ""
            return f"Set `data.decimal: {other.decimal!r}`{thousands}, if numbers are written so."
    if form.decimal != "." and all_fit(bad, PLAIN):
        return f"`data.decimal` is {form.decimal!r}: mend the value, or set it to '.'."
    if dates.guess(bad):
        return "Give the column `kind: date`, and a `format` if it is no ISO 8601 date."
    return (
        "Mend the value, add it to `data.missing_values` if it means missing, or give the column "
        "`kind: categorical`."
    )


def _groups(texts: pa.Array, form: NumberForm) -> bool:
    """Whether some text has the mark between thousands, if the form has one."""
    import pyarrow.compute as pc

    mark = rf"\d({re.escape(form.thousands)}|{_WIDE_SPACES})\d"
    return not form.thousands or bool(pc.any(pc.match_substring_regex(texts, mark)).as_py())
