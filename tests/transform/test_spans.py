"""Transform analyzes the rows of a new span; of those before it has what it computed then."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.beam.helping import Helped
from tests.transform.table import Transformed, run_executor, table, write_schema, write_split
from transform.config import TransformConfig

CONFIG = TransformConfig.model_validate(
    {
        "features": {
            "columns": {
                "plain": {"kind": "numeric"},
                "bounded": {"kind": "numeric", "scale": "minmax"},
                "bucketed": {"kind": "numeric", "buckets": 4},
                "city": {"kind": "categorical", "max_values": 3, "oov_buckets": 2},
                "rare": {"kind": "categorical", "min_count": 5},
            }
        },
        "label": {"column": "kind", "task": "multiclass", "classes": ["a", "b", "c"]},
    }
)
# The rows of `d` are those of `b` once more.
ROWS = {"a" * 16: (0, 25), "b" * 16: (25, 45), "c" * 16: (45, 60), "d" * 16: (25, 45)}


def write_spans(folder: Path, spans: str) -> None:
    """Writes the train rows of spans, and an eval split."""
    for name in spans:
        first, last = ROWS[name * 16]
        write_split(folder, "train", table(60)[first:last], name * 16)
    write_split(folder, "eval", table(60))


def run(folder: Path, name: str, cache: Path | None = None) -> Transformed:
    from transform.executor import Executor

    return run_executor(Executor, folder, name, cache, config=CONFIG)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each span's rows are read."""
    from tfx_pipeline.runners.beam.local import bundles

    seen: Counter[str] = Counter()
    read_tfrecords = bundles.read_tfrecords

    def noted(path: str, compression: str) -> Any:
        name = Path(path).name
        if "/Split-train/" in path and name.startswith("data_tfrecord-"):
            seen[name.split("-")[1][0]] += 1
        return read_tfrecords(path, compression)

    monkeypatch.setattr(bundles, "read_tfrecords", noted)
    return seen


@pytest.mark.slow
def test_only_the_new_span_is_analyzed(
    tmp_path: Path, read: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx.components.transform import executor as tfx_executor

    write_schema(tmp_path, table(60))
    write_spans(tmp_path, "abd")
    first = run(tmp_path, "first")
    assert read == {"a": 2, "b": 2, "d": 2}, "once to analyze, once to transform"

    read.clear()
    write_spans(tmp_path, "c")
    # The artifact of another run is in another folder: content tells which spans are the same.
    other = tmp_path / "other"
    other.mkdir()
    for name in ("examples", "schema"):
        (tmp_path / name).rename(other / name)
    second = run(other, "second", first.folder / "cache")
    assert read == {"a": 1, "b": 1, "c": 2, "d": 1}

    whole = tmp_path / "whole"
    write_split(whole, "train", table(60) + table(60)[25:45])
    write_split(whole, "eval", table(60))
    write_schema(whole, table(60))
    cold = run(whole, "cold")
    assert_same(second, cold)

    # With more analyzers TFX caches fewer datasets; the others are analyzed as one.
    monkeypatch.setattr(tfx_executor, "_GetCacheableDatasetsCount", lambda *_: 1)
    assert_same(run(other, "joined"), cold)
    assert len(list((other / "joined" / "cache").iterdir())) == 1


def assert_same(ours: Transformed, theirs: Transformed) -> None:
    """The same features and vocabularies."""
    assert ours.features.keys() == theirs.features.keys()
    for name, values in ours.features.items():
        np.testing.assert_allclose(
            values.numpy(), theirs.features[name].numpy(), rtol=1e-6, atol=1e-6, err_msg=name
        )
    for column in ("city", "rare"):
        name = f"{column}_vocabulary"
        assert ours.output.vocabulary_by_name(name) == theirs.output.vocabulary_by_name(name)


@pytest.mark.slow
def test_two_processes_write_what_one_does(tmp_path: Path, helped: Helped) -> None:
    """The same vocabularies and rows, in the same files and order."""
    from transform.executor import Executor

    write_schema(tmp_path, table(60))
    write_spans(tmp_path, "abd")
    made = {}
    for count in (1, 2):
        made[count] = run_executor(Executor, tmp_path, str(count), config=CONFIG, processes=count)
    assert len(helped.read) >= 6, "each span to analyze and to transform"
    one, two = (
        {path.relative_to(tmp_path / str(count)): path for path in _rows(tmp_path / str(count))}
        for count in (1, 2)
    )
    assert one.keys() == two.keys()
    assert len(one) > 3
    for name, path in one.items():
        assert _examples(path) == _examples(two[name]), name
    assert_same(made[1], made[2])


def _examples(path: Path) -> list[Any]:
    """A file's, whose bytes have their features in any order."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()
    return [tf.train.Example.FromString(record) for record in records]


def _rows(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("transformed_examples*.gz") if path.is_file()]
