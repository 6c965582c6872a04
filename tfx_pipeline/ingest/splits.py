"""Which split each row belongs to, the same on every machine and in any order of the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.config.data import SplitConfig
from tfx_pipeline.ingest import dates
from tfx_pipeline.ingest.faults import BadValues
from tfx_pipeline.ingest.files import SPLIT_SYNONYMS, SPLITS
from tfx_pipeline.ingest.nulls import without

if TYPE_CHECKING:
    import pyarrow as pa

TRAIN, VAL, EVAL = range(len(SPLITS))


@dataclass(frozen=True)
class TimeBounds:
    """Where a time split cuts: val starts at `val_from`, eval at `eval_from`, in column units.
    `ranges`: first and last time of each file."""

    val_from: float
    eval_from: float
    ranges: dict[Path, tuple[float, float]] = field(default_factory=dict, compare=False)

    def within(self, paths: Iterable[Path]) -> str:
        """What the cuts do to the rows of files: the split that all are in, else the cuts."""
        ends = [end for path in paths for end in self.ranges.get(path, ())]
        splits = set(time_splits(np.array(ends), self).tolist())
        return str(splits.pop()) if len(splits) == 1 else f"{self.val_from!r} {self.eval_from!r}"


def hash_splits(rows: pa.RecordBatch, split: SplitConfig) -> np.ndarray:
    """Splits by SHA-256 of the row's values, or of the key's; equal rows end in one split.

    The eval rows are the lowest of the hash's range, so a change of `val_fraction` moves none of
    them; and the whole row counts, not only the columns that are features, so neither does a
    change of features: a model blessed before is never measured on rows that it was trained on.
    A column added to the data does move rows, unless `key` names those that count; then the
    Evaluator does not compare (`tfx_pipeline.gates.same_split`).

    Args:
        rows: N rows, of any types.
        split: Fractions and key.

    Returns:
        int8 [N] of TRAIN, VAL and EVAL.
    """
    return cut(row_hashes(rows, split.key), split)


def row_hashes(rows: pa.RecordBatch, key: Sequence[str]) -> np.ndarray:
    """SHA-256 of each row's values (those of `key`, if it names any), as float64 [N] in [0, 1)."""
    names = key or sorted(rows.schema.names)
    present = [name for name in names if name in rows.schema.names]
    if not present:
        return np.full(rows.num_rows, int.from_bytes(hashlib.sha256().digest()[:8]) / 2.0**64)
    keys = _row_keys([rows.column(name) for name in present], present)
    _, offsets, data = keys.buffers()
    ends = np.frombuffer(offsets, np.int64, len(keys) + 1).tolist()
    view, sha256 = memoryview(data or b""), hashlib.sha256
    # From the buffer: a Python object of each key costs as much as its hash.
    digests = b"".join([sha256(view[a + 1 : b]).digest()[:8] for a, b in pairwise(ends)])
    return np.frombuffer(digests, ">u8").astype(np.float64) / 2.0**64


def cut(hashes: np.ndarray, split: SplitConfig) -> np.ndarray:
    """Splits by hash: int8 [N] of TRAIN, VAL and EVAL, from float64 [N] in [0, 1)."""
    val_below = split.eval_fraction + split.val_fraction
    return np.where(
        hashes < split.eval_fraction, EVAL, np.where(hashes < val_below, VAL, TRAIN)
    ).astype(np.int8)


def times(column: pa.Array, form: str = "") -> tuple[np.ndarray, list[BadValues]]:
    """A column of times as numbers that order it: itself if numeric, else Unix seconds.

    Args:
        column: Length N: numbers, dates, or text holding either.
        form: How a text states a date, where a feature says so; "" is ISO 8601.

    Returns:
        float64 [N], NaN where it is no time, and the values that are none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type):
        stamps = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        numbers = pc.divide(stamps.cast(pa.float64()), 1e6)
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = column.cast(pa.float64(), safe=False)
    elif form:
        numbers = pa.array(dates.seconds(_text(column), form))
    else:  # Text, or the one value in the list of a tf.Example.
        texts = [(text or b"").decode(errors="replace") for text in _text(column).to_pylist()]
        numbers = pa.array([_seconds(text) for text in texts], pa.float64())
    bad = np.flatnonzero(~np.isfinite(numbers.to_numpy(zero_copy_only=False)))
    if not len(bad):
        return numbers.to_numpy(zero_copy_only=False), []
    first = int(bad[0])
    fault = BadValues(
        first,
        str(column[first].as_py() or ""),
        "is no time to split by",
        "`method: time` needs a number or ISO 8601 text (2024-01-31T13:45:00) in every row; text "
        "in another format needs a date feature that says which with `format`.",
        len(bad),
        bad,
    )
    values = numbers.to_numpy(zero_copy_only=False).copy()
    values[bad] = np.nan
    return values, [fault]


def time_bounds(values: Iterable[np.ndarray], split: SplitConfig) -> TimeBounds:
    """Where to cut so that the latest rows are eval and those just before are val.

    Rows of one time stay together, in the later split.
    """
    ordered = np.sort(np.concatenate(list(values)))
    eval_at = round(len(ordered) * (1 - split.eval_fraction))
    val_at = round(len(ordered) * (1 - split.eval_fraction - split.val_fraction))
    val_from, eval_from = (
        float(ordered[min(index, len(ordered) - 1)]) for index in (val_at, eval_at)
    )
    return TimeBounds(val_from, eval_from)


def time_splits(values: np.ndarray, bounds: TimeBounds) -> np.ndarray:
    """Splits by time: int8 [N] of TRAIN, VAL and EVAL."""
    return np.where(
        values >= bounds.eval_from, EVAL, np.where(values >= bounds.val_from, VAL, TRAIN)
    ).astype(np.int8)


def column_splits(column: pa.Array) -> tuple[np.ndarray, list[BadValues]]:
    """Splits by a column that names them (train, val, eval and their usual synonyms).

    Returns:
        int8 [N], and the values that name no split.
    """
    import pyarrow.compute as pc

    names = _text(column)
    distinct = pc.unique(names)
    codes = [_split_code(name) for name in distinct.to_pylist()]
    ids = np.asarray(codes, np.int8)[pc.index_in(names, distinct).to_numpy(zero_copy_only=False)]
    bad = np.flatnonzero(ids < 0)
    if not len(bad):
        return ids, []
    value = names[int(bad[0])].as_py() or b""
    known = ", ".join(SPLIT_SYNONYMS)
    text = value.decode(errors="replace")
    fault = BadValues(int(bad[0]), text, "names no split", f"Use: {known}.", len(bad), bad)
    return np.zeros(len(ids), np.int8), [fault]


def _split_code(name: bytes | None) -> int:
    text = (name or b"").decode(errors="replace").strip().lower()
    return SPLITS.index(SPLIT_SYNONYMS[text]) if text in SPLIT_SYNONYMS else -1


def _row_keys(columns: Sequence[pa.Array], names: Sequence[str]) -> pa.Array:
    """The bytes that stand for a row: names and values, a separator before each. A missing value
    adds nothing, so that an absent feature of a tf.Example counts as an empty one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = []
    empty = pa.scalar(b"", pa.large_binary())
    for name, column in zip(names, columns, strict=True):
        prefix = pa.scalar(f"\x1f{name}=".encode(), pa.large_binary())
        text = _text(column)
        is_empty = pc.equal(pc.binary_length(text), 0)
        if text.null_count or pc.any(is_empty).as_py():
            text = without(text, is_empty)
            parts.append(pc.fill_null(pc.binary_join_element_wise(prefix, text, empty), b""))
        else:
            parts += [prefix, text]
    return pc.binary_join_element_wise(*parts, empty)


def _text(column: pa.Array) -> pa.Array:
    """Any column as large_binary; lists as their values joined, nested types as their repr."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        values = _text(column.values)
        offsets = column.offsets.cast(pa.int64())
        lists = pa.LargeListArray.from_arrays(offsets, values)
        return pc.binary_join(lists, pa.scalar(b"\x1e", pa.large_binary()))
    if pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.string())
    try:
        return column.cast(pa.large_binary())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        pass
    try:
        return column.cast(pa.large_string()).cast(pa.large_binary())
    except pa.ArrowNotImplementedError:
        return pa.array([repr(value).encode() for value in column.to_pylist()], pa.large_binary())


def _seconds(text: str) -> float | None:
    from datetime import UTC, datetime

    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
