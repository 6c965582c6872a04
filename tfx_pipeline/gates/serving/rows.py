"""The held-out rows: raw, as a client would send them, with labels and the slices they are in."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfx_pipeline.errors import DataError
from tfx_pipeline.gates.quality import slice_name
from transform.config import LABEL

MAX_ROWS = 20_000
_READ_ROWS = 4096
_LABEL_ROWS = 1024
_SEED = 17

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """Rows of the eval split.

    Attributes:
        serialized: tf.Examples as they are stored, in the split's order.
        labels: [N] float64, as `gates.measures` takes them; [N, classes] of a multilabel model.
        slices: Slice's name (`payment_type=Cash`) to the indices of its rows, ascending.
        total: Rows of the whole split; more than N where they are a sample.
    """

    serialized: list[bytes]
    labels: npt.NDArray[np.float64]
    slices: dict[str, Indices]
    total: int


def held_out(
    split: str | Path,
    model: str | Path,
    slices: Sequence[Sequence[str]] = (),
    *,
    max_rows: int = MAX_ROWS,
) -> HeldOut:
    """Reads held-out rows; of a split with more than `max_rows` always the same random ones.

    Args:
        split: Folder of the split's TFRecord files.
        model: SavedModel whose signature `transform_features` makes the labels, as for TFMA.
        slices: Columns, or combinations, whose every value is a slice.
        max_rows: At most so many.

    Raises:
        DataError: The split has no rows, or the model makes no labels of them.
    """
    chosen, total = sample(split, max_rows)
    if not chosen:
        raise DataError(
            "there are no held-out rows to measure on",
            where=str(split),
            hint="Check data.split: its eval_fraction, key or column leaves nothing for eval.",
        )
    return HeldOut(chosen, labels_of(chosen, model), slices_of(chosen, slices), total)


def sample(split: str | Path, max_rows: int) -> tuple[list[bytes], int]:
    """At most `max_rows` rows of a split in its order, each as likely as any other and the same
    ones at every call; and how many the split has. Never holds much more than `max_rows`."""
    generator = np.random.default_rng(_SEED)
    kept: list[tuple[float, int, bytes]] = []
    total, bound = 0, 2.0
    for batch in batches(split, _READ_ROWS):
        # Bottom-k sampling: the rows with the smallest random keys.
        for key, row in zip(generator.random(len(batch)).tolist(), batch, strict=True):
            if key < bound:
                kept.append((key, total, row))
            total += 1
        if len(kept) >= 2 * max_rows:
            kept = sorted(kept)[:max_rows]
            bound = kept[-1][0] if kept else bound
    kept = sorted(kept)[:max_rows]
    return [row for _, _, row in sorted(kept, key=lambda item: item[1])], total


def batches(split: str | Path, rows: int) -> Iterator[list[bytes]]:
    """Serialized records of a split's TFRecord files, in order, some at a time.

    Raises:
        DataError: A file is no TFRecord file.
    """
    import tensorflow as tf

    files = sorted(
        file for file in tf.io.gfile.glob(os.path.join(str(split), "*")) if not _is_folder(file)
    )
    for file in files:
        compression = "GZIP" if file.endswith(".gz") else ""
        dataset = tf.data.TFRecordDataset(file, compression).batch(rows).prefetch(1)
        try:
            for batch in dataset.as_numpy_iterator():
                yield batch.tolist()
        except tf.errors.DataLossError as error:
            raise DataError(
                f"the examples cannot be read: {error.message}",
                where=file,
                hint="Run again from ExampleGen: `assay run --from ExampleGen`.",
            ) from error


def labels_of(serialized: Sequence[bytes], model: str | Path) -> npt.NDArray[np.float64]:
    """The label of each row, [N] or [N, classes], from a SavedModel's `transform_features`.

    Raises:
        DataError: The model has no such signature, or refuses the rows.
    """
    from serving.server import saved_model
    from serving.server.status import RequestError

    loaded = None
    try:
        loaded = saved_model.load(Path(model))
        [examples] = loaded.signatures["transform_features"].inputs
        parts = [
            loaded.run("transform_features", {examples: as_array(part)}, [LABEL])[LABEL]
            for start in range(0, len(serialized), _LABEL_ROWS)
            if (part := serialized[start : start + _LABEL_ROWS])
        ]
        table = np.concatenate(parts).reshape(len(serialized), -1).astype(np.float64)
        return table[:, 0] if table.shape[1] == 1 else table
    except (RequestError, KeyError, ValueError) as error:
        raise DataError(
            f"the labels of the held-out rows cannot be made: {error}",
            where=str(model),
            hint=f"The model needs a signature transform_features with an output {LABEL}.",
        ) from error
    finally:
        if loaded is not None:
            loaded.close()


def slices_of(serialized: Sequence[bytes], slices: Sequence[Sequence[str]]) -> dict[str, Indices]:
    """Each slice's rows. As in TFMA, a row with several values is in several slices, and one
    without a value in none."""
    import pandas as pd

    from serving.client.messages import Example

    columns = {column for names in slices for column in names}
    cells: dict[str, list[tuple[int, Any]]] = {column: [] for column in columns}
    for row, data in enumerate(serialized if columns else ()):
        features = Example.FromString(data).features.feature
        for column in columns:
            if column in features:
                cells[column] += [(row, value) for value in _values(features[column])]
    found: dict[str, Indices] = {}
    for names in slices:
        places = list(range(len(names)))  # The user's columns may have any name, even `row`.
        frames = [
            pd.DataFrame(cells[name], columns=["row", place]).astype({place: object}).dropna()
            for place, name in zip(places, names, strict=True)
        ]
        table = functools.reduce(lambda left, right: left.merge(right, on="row"), frames)
        for values, rows in table.groupby(places, sort=True)["row"]:
            name = slice_name(tuple(zip(names, values, strict=True)))
            found[name] = np.unique(rows.to_numpy(np.int64))
    return found


def as_array(serialized: Sequence[bytes]) -> npt.NDArray[np.object_]:
    """Serialized tf.Examples as the [N] array of bytes that a signature takes."""
    return np.array(serialized, object)


def _values(feature: Any) -> Iterator[Any]:
    for value in getattr(feature, feature.WhichOneof("kind") or "float_list").value:
        yield value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _is_folder(path: str) -> bool:
    import tensorflow as tf

    return bool(tf.io.gfile.isdir(path))
