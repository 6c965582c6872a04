"""The real rows from which quantization takes the range of each activation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfx_pipeline.errors import NodeFailed
from trainer.compression.context import Context

if TYPE_CHECKING:
    import tf_keras

LEAST_REPRESENTATIVE_ROWS = 100
"""The range of an activation is the least and the largest value that was seen: of fewer rows it is
too narrow, and what lies outside is cut off. TensorFlow's guide asks for 100 to 500."""

Arrays = Mapping[str, np.ndarray]


def representative_rows(
    model: tf_keras.Model, context: Context, asked: int | None
) -> tuple[list[Arrays], tuple[str, ...]]:
    """Rows that show the range of each activation, each by itself.

    Args:
        model: Whose inputs they are.
        context: `rows`, and `train_split` for what these do not show.
        asked: The first so many of `context.rows`; None: all.

    Returns:
        Rows of one each, model inputs by name [1, ...], and notes: that they are fewer than
            asked, and which inputs have one value only and could not be searched for others.

    Raises:
        NodeFailed: They are fewer than `LEAST_REPRESENTATIVE_ROWS`.
    """
    rows = {name: context.rows[name][:asked] for name in model.input_names}
    count = min(len(values) for values in rows.values())
    if count < LEAST_REPRESENTATIVE_ROWS:
        raise NodeFailed(
            f"a representative set of {count} rows is too small: the range of each activation is "
            f"taken from them, and that needs {LEAST_REPRESENTATIVE_ROWS}",
            hint="Raise representative_rows."
            if asked == count
            else "Train on more rows, or choose float16 or dynamic_range, which need none.",
        )
    # The calibrator takes batches of one size only, and rows are added.
    single: list[Arrays] = [
        {n: values[i : i + 1] for n, values in rows.items()} for i in range(count)
    ]
    notes: tuple[str, ...] = ()
    if asked and count < asked:
        notes = (f"calibrated on {count} of the {asked} rows that were asked for",)
    constant = [
        name
        for name, values in rows.items()
        if values.dtype.kind == "f" and values.size and not np.ptp(values)
    ]
    if constant and context.train_split.held is None:
        notes += (
            f"{', '.join(constant)}: one value in all {count} rows of the calibration, and a split "
            "larger than train.cache_max_mb is not searched for others",
        )
    return single + _missing_variation(rows, constant, context), notes


def _missing_variation(rows: Arrays, constant: Sequence[str], context: Context) -> list[Arrays]:
    """One training row for each input in `constant`, if it has another value than in `rows` there.

    The flag of a rare missing value, say. Its range would be empty, and the first row that has the
    flag would overflow (seen on taxi in int16x8: 0.46 off, in one of 300 rows).
    """
    held = context.train_split.held
    if held is None:
        return []
    found: list[Arrays] = []
    for name in constant:
        everything = held.features[name]
        away = np.abs(everything - rows[name].flat[0]).reshape(len(everything), -1).max(axis=1)
        farthest = int(away.argmax())
        if away[farthest] > 0:
            found.append({n: held.features[n][farthest : farthest + 1] for n in rows})
    return found
