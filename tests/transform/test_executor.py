"""Our executor's artifacts and cache, in the hands of the stock one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.transform.table import Transformed, run_executor, write_split


def assert_equal_features(ours: Transformed, theirs: Transformed, but: str = "") -> None:
    """The same features with the same values, rows in one order."""
    assert set(theirs.features) == set(ours.features)
    for name, mine in ours.features.items():
        if name == but:
            continue
        other = theirs.features[name]
        if hasattr(mine, "values"):
            np.testing.assert_array_equal(mine.indices, other.indices)
            mine, other = mine.values, other.values
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_its_features_are_those_of_the_stock_executor_on_beams_runner(
    transformed: Transformed,
) -> None:
    """Bit by bit the vocabularies, 1e-6 what comes of moments; and TFT's own readers read it."""
    from tfx.components.transform import executor as tfx_executor

    folder = transformed.folder.parent
    write_split(folder, "train", transformed.rows)
    stock = run_executor(tfx_executor.Executor, folder, "by_beam", runner="FnApiRunner")

    assets = {p.name: p.read_bytes() for p in (stock.folder / "graph").rglob("assets/*")}
    assert assets
    ours = (transformed.folder / "graph").rglob("assets/*")
    assert {path.name: path.read_bytes() for path in ours} == assets
    assert_equal_features(transformed, stock)


@pytest.mark.slow
def test_its_files_have_the_standard_names(transformed: Transformed) -> None:
    def names(kind: str, split: str = "") -> list[str]:
        folder = transformed.folder / kind / split
        return sorted(path.name for path in folder.iterdir())

    assert names("graph") == ["metadata", "transform_fn", "transformed_metadata"]
    assert names("transformed", "Split-train") == ["transformed_examples-00000-of-00001.gz"]
    assert names("transformed", "Split-eval") == ["transformed_examples-00000-of-00001.gz"]


def test_names_that_another_version_lacks_are_told_and_done_without(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx.components.transform import executor as tfx_executor

    from transform.executor import batches_of

    stock = tfx_executor.TransformProcessor
    monkeypatch.delattr(stock, "_GetDesiredBatchSize")
    with batches_of(5):
        assert tfx_executor.TransformProcessor is stock
    monkeypatch.delattr(tfx_executor, "TransformProcessor")
    with batches_of(5):
        assert not hasattr(tfx_executor, "TransformProcessor")
    assert ["in their last bits" in record.getMessage() for record in caplog.records] == [True] * 2


def test_the_stock_processor_comes_back_after_an_error() -> None:
    from tfx.components.transform import executor as tfx_executor

    from transform.executor import batches_of

    stock = tfx_executor.TransformProcessor

    def fail() -> None:
        with batches_of(5):
            assert tfx_executor.TransformProcessor is not stock
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert tfx_executor.TransformProcessor is stock


def test_rows_come_in_batches_of_one_size() -> None:
    """Beam would size them by the time that they take, and so change sums of floats."""
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx.components.transform import executor as tfx_executor
    from tfx.proto import example_gen_pb2

    from transform.executor import batches_of

    asked = (example_gen_pb2.FORMAT_TF_EXAMPLE, schema_pb2.Schema())
    assert tfx_executor.TransformProcessor()._GetDesiredBatchSize(*asked) is None
    with batches_of(5):
        assert tfx_executor.TransformProcessor()._GetDesiredBatchSize(*asked) == 5


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ({"x": {"kind": "numeric"}}, 1000),
        ({"x": {"kind": "image", "height_px": 32, "width_px": 32, "channels": 3}}, 1000),
        ({"x": {"kind": "image", "height_px": 512, "width_px": 512, "channels": 3}}, 21),
        ({"x": {"kind": "series", "length": 100_000, "channels": 4}}, 41),
        ({"x": {"kind": "image", "height_px": 4096, "width_px": 4096, "channels": 3}}, 1),
    ],
)
def test_a_batch_of_large_pictures_has_fewer_rows(columns: dict[str, Any], rows: int) -> None:
    from transform.executor import batch_rows

    config = {"transform": {"features": {"columns": columns}}}
    assert batch_rows(json.dumps(config)) == rows
    assert batch_rows(None) == batch_rows("null") == 1000
