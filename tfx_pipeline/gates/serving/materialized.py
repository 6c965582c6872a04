"""Whether the transform graph still makes of raw rows what Transform wrote for the trainer.

Transform writes its rows in an order of its own (Beam keeps none), and none of the eval split. So
some raw rows of a split that it did write go through the graph once more, by TFT's own way, and
each must be found among the written ones.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfx_pipeline.gates.serving.rows import as_array, batches
from transform.config import LABEL
from transform.layout import FeatureSpec, model_inputs

if TYPE_CHECKING:
    import tensorflow_transform as tft

_READ_ROWS = 2048  # at most
_NUMBERS = 2**20  # of rows that are compared at once: 64 MB as float64 with what is made of them
_DIGITS = 5  # that written and computed values are first compared to
_COMPARED = 2**22  # numbers compared at once when the nearest row is looked for

Features = dict[str, npt.NDArray[Any]]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A transformed feature that has two values.

    Attributes:
        feature: Its name.
        row: Of the rows that were compared.
        expected: The value in training; the first one that differs, of a feature with several.
        found: The other.
        size: The largest difference in that row, relative to the value where it is over 1; inf
            where one of them is no number.
    """

    feature: str
    row: int
    expected: float
    found: float
    size: float


def through_graph(
    tft_output: tft.TFTransformOutput, layout: Sequence[FeatureSpec], serialized: Sequence[bytes]
) -> Features:
    """Raw rows through the transform graph, as TFT itself runs it: the model's inputs by name
    [N, ...], in the layout's order, and the label."""
    import tensorflow as tf

    raw = tf.io.parse_example(as_array(serialized), tft_output.raw_feature_spec())
    transformed = tft_output.transform_raw_features(raw)
    found = model_inputs(transformed, layout) | {LABEL: transformed[LABEL]}
    return {name: values.numpy() for name, values in found.items()}


def first_difference(
    expected: Mapping[str, npt.NDArray[Any]],
    found: Mapping[str, npt.NDArray[Any]],
    tolerance: float,
) -> Difference | None:
    """The first feature, in the order of `expected`, that differs by more than the tolerance, in
    the row where it differs most. A feature that is not in `found` is not compared."""
    for name, values in expected.items():
        if name not in found:
            continue
        worst: Difference | None = None
        for rows in _chunks(len(values), max(_width(values), _width(found[name]))):
            one, other = _same_width(_flat(values[rows]), _flat(found[name][rows]))
            sizes = relative(one, other)
            size = float(sizes.max()) if sizes.size else 0.0
            if size > (tolerance if worst is None else worst.size):
                row, column = (
                    int(place) for place in np.unravel_index(sizes.argmax(), sizes.shape)
                )
                values_there = float(one[row, column]), float(other[row, column])
                worst = Difference(name, rows.start + row, *values_there, size)
        if worst is not None:
            return worst
    return None


def relative(one: Matrix, other: Matrix) -> Matrix:
    """|one - other| / max(1, |one|); 0 where both are NaN or the same infinity, else inf there."""
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        sizes = np.abs(one - other) / np.maximum(1.0, np.abs(one))
    return np.where(same, 0.0, np.where(np.isfinite(sizes), sizes, np.inf))


def check(
    split: Path,
    tft_output: tft.TFTransformOutput,
    layout: Sequence[FeatureSpec],
    computed: Features,
    tolerance: float,
) -> Difference | None:
    """Looks rows up among those that Transform wrote; None where each of them is there.

    Args:
        split: Folder of transformed examples.
        tft_output: The transform graph.
        layout: The model's features.
        computed: Rows of the same split, from `through_graph`.
        tolerance: As in `first_difference`.

    Returns:
        For the first row that is not there: the difference to the most similar one that is.
    """
    count, width = len(next(iter(computed.values()))), sum(map(_width, computed.values()))
    open_rows: dict[bytes, list[int]] = {}
    for rows in _chunks(count, width):
        for row, key in enumerate(_keys(_matrix(_some(computed, rows), computed)), rows.start):
            open_rows.setdefault(key, []).append(row)
    at_once = _rows_at_once(width)
    for written in _written(split, tft_output, layout, at_once):
        for key in _keys(_matrix(written, computed)):
            found = open_rows.get(key)
            if found:
                found.pop()
        open_rows = {key: rows for key, rows in open_rows.items() if rows}
        if not open_rows:
            return None
    # Most likely one number that was just on the other side of a rounding.
    left = sorted(row for rows in open_rows.values() for row in rows)
    step = max(1, _COMPARED // (at_once * width))
    for start in range(0, len(left), step):
        rows_left = left[start : start + step]
        wanted = _matrix(_some(computed, rows_left), computed)
        written_rows = _written(split, tft_output, layout, at_once)
        nearest = _nearest(wanted, (_matrix(w, computed) for w in written_rows), tolerance)
        for row, own, candidate in zip(rows_left, wanted, nearest, strict=True):
            difference = _difference_of(row, own, candidate, computed, tolerance)
            if difference is not None:
                return difference
    return None


def _rows_at_once(width: int) -> int:
    """How many rows of so many numbers are compared at once: of images, few."""
    return max(1, min(_READ_ROWS, _NUMBERS // max(1, width)))


def _chunks(rows: int, width: int) -> Iterator[slice]:
    step = _rows_at_once(width)
    return (slice(start, start + step) for start in range(0, rows, step))


def _some(features: Features, rows: slice | list[int]) -> Features:
    return {name: values[rows] for name, values in features.items()}


def _written(
    split: Path, tft_output: tft.TFTransformOutput, layout: Sequence[FeatureSpec], rows: int
) -> Iterator[Features]:
    import tensorflow as tf

    spec = tft_output.transformed_feature_spec()
    for batch in batches(split, rows):
        parsed = tf.io.parse_example(as_array(batch), spec)
        found = model_inputs(parsed, layout) | {LABEL: parsed[LABEL]}
        yield {name: values.numpy() for name, values in found.items()}


def _nearest(wanted: Matrix, written: Iterator[Matrix], tolerance: float) -> Matrix:
    """For each row the written one that agrees with it in most numbers; NaN where there is none."""
    best = np.full_like(wanted, np.nan)
    fewest = np.full(len(wanted), np.inf)
    for matrix in written:
        if not len(matrix):
            continue
        unlike = (relative(wanted[:, None, :], matrix[None]) > tolerance).sum(axis=2)
        place = unlike.argmin(axis=1)
        count = unlike[np.arange(len(wanted)), place]
        better = count < fewest
        best[better], fewest[better] = matrix[place[better]], count[better]
    return best


def _difference_of(
    row: int, wanted: Matrix, written: Matrix, computed: Features, tolerance: float
) -> Difference | None:
    start = 0
    for name, values in computed.items():
        width = _width(values)
        one, other = (table[None, start : start + width] for table in (written, wanted))
        found = first_difference({name: one}, {name: other}, tolerance)
        if found is not None:
            return Difference(name, row, found.expected, found.found, found.size)
        start += width
    return None


def _matrix(features: Features, like: Features) -> Matrix:
    """Features side by side, [n, numbers of a row of `like`]. A bag is as wide as the batch's
    longest row; what it has beyond the width in `like` makes the row a stranger (NaN)."""
    parts = []
    for name, values in like.items():
        width = _width(values)
        flat = _flat(features[name])
        part, _ = _same_width(flat[:, :width], np.zeros((0, width)))
        if flat.shape[1] > width:
            part = np.where(flat[:, width:].any(axis=1, keepdims=True), np.nan, part)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _keys(matrix: Matrix) -> list[bytes]:
    """A digest of each row: of 1,000 images the numbers themselves would be 1 GB."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(matrix))))
        rounded = np.where(np.isfinite(scale), np.round(matrix * scale) / scale, matrix)
    rounded += 0.0  # no -0.0
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rounded]


def _width(values: npt.NDArray[Any]) -> int:
    """Numbers of a row."""
    return math.prod(values.shape[1:])


def _flat(values: npt.NDArray[Any]) -> Matrix:
    return values.reshape(len(values), -1).astype(np.float64)


def _same_width(one: Matrix, other: Matrix) -> tuple[Matrix, Matrix]:
    """Both padded with zeros, as bags are."""
    width = max(one.shape[1], other.shape[1])
    first, second = (np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in (one, other))
    return first, second


def written_splits(transformed: Path) -> list[str]:
    """The splits to look rows up in: `val` where there is one, which is smaller, then `train`."""
    return ["val", "train"] if os.path.isdir(transformed / "Split-val") else ["train"]
