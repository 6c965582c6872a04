"""Held-out rows: which ones, their labels, and their slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import encode_examples
from tests.gates.serving.conftest import SPLITS, World
from tfx_pipeline.errors import DataError
from tfx_pipeline.gates.serving.rows import held_out, sample, slices_of

pytestmark = pytest.mark.slow


def _write(folder: Path, files: list[list[bytes]]) -> None:
    import tensorflow as tf

    folder.mkdir()
    for number, records in enumerate(files):
        with tf.io.TFRecordWriter(str(folder / f"data-{number}.gz"), "GZIP") as writer:
            for record in records:
                writer.write(record)


def test_a_sample_is_bounded_in_order_and_always_the_same(tmp_path: Path) -> None:
    records = [str(number).encode() for number in range(10_000)]
    _write(tmp_path / "split", [records[:6000], records[6000:]])
    chosen, total = sample(tmp_path / "split", 500)
    assert total == 10_000
    numbers = [int(row) for row in chosen]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 500
    assert 4500 < np.mean(numbers) < 5500  # and not the first ones
    assert sample(tmp_path / "split", 500)[0] == chosen
    assert sample(tmp_path / "split", 20_000)[0] == records


def test_rows_come_with_the_labels_that_the_model_makes(world: World) -> None:
    rows = world.rows(["my shop"])
    expected = world.transformed.raw["eval"]
    assert rows.total == len(rows.serialized) == SPLITS["eval"]
    np.testing.assert_array_equal(rows.labels, expected["sold"] == "yes")
    for name, indices in rows.slices.items():
        shop = name.removeprefix("my shop=")
        np.testing.assert_array_equal(indices, np.flatnonzero(expected["my shop"] == shop))
    assert sum(map(len, rows.slices.values())) == SPLITS["eval"]


def test_slices_of_missing_and_many_values() -> None:
    table: list[dict[str, Any]] = [
        {"row": "a", "hour": 7, "x": 0.1},
        {"row": ["a", "b"], "hour": 8},
        {"hour": 7, "x": float("nan")},
    ]
    found = slices_of(encode_examples(table), [["row"], ["row", "hour"], ["x"], ["absent"]])
    assert {name: indices.tolist() for name, indices in found.items()} == {
        "row=a": [0, 1],
        "row=b": [1],
        "row=a, hour=7": [0],
        "row=a, hour=8": [1],
        "row=b, hour=8": [1],
        "x=0.10000000149011612": [0],  # as TFMA has it: floats are of 32 bits
    }


def test_no_rows_and_no_labels_are_told(world: World, tmp_path: Path) -> None:
    _write(tmp_path / "empty", [[]])
    with pytest.raises(DataError, match="no held-out rows"):
        held_out(tmp_path / "empty", world.float_model)
    _write(tmp_path / "foreign", [encode_examples([{"other": "x"}])])
    with pytest.raises(DataError, match="labels of the held-out rows cannot be made"):
        held_out(tmp_path / "foreign", world.float_model)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "data.gz").write_bytes(b"this is no TFRecord file, and no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        sample(tmp_path / "damaged", 10)
