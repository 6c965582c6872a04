"""Small files, and the rows that `typed_rows` makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.config.data import DataConfig
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.files import SPLITS, find_files
from tfx_pipeline.ingest.rows import typed_rows
from tfx_pipeline.ingest.source import Source
from transform.config import StorageType

Write = Callable[..., str]
Read = Callable[..., dict[str, list[Any]]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file below the test's folder and returns its path."""

    def write(content: str | bytes, name: str = "rows.csv") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def make_source(
    paths: str | Sequence[str],
    types: dict[str, StorageType] | None = None,
    dates: dict[str, str] | None = None,
    **data: Any,
) -> Source:
    """A source whose label is the number `y`, unless stated otherwise."""
    paths = [paths] if isinstance(paths, str) else list(paths)
    data.setdefault("label", {"column": "y", "task": "regression"})
    config = DataConfig.model_validate({"path": paths, **data})
    label = config.label
    types = {"x": "float"} if types is None else types
    types = {**types, label.column: "float" if label.is_number else "bytes"}
    return Source(config, types, paths, dates or {})


def read_source(source: Source) -> dict[str, list[Any]]:
    """All rows as lists of values, with their split's name as column `split`."""
    rows: dict[str, list[Any]] = {"split": [], **{name: [] for name in source.types}}
    for batch in typed_rows(find_files(source), source):
        rows["split"] += [SPLITS[split] for split in batch.splits]
        for name in source.types:
            rows[name] += batch.columns.column(name).to_pylist()
    return rows


def numbers_csv(rows: int, seed: int = 0) -> str:
    """A CSV of columns x and y with distinct rows."""
    random = np.random.default_rng(seed)
    lines = [f"{x:.6f},{y:.6f}" for x, y in random.normal(size=(rows, 2))]
    return "x,y\n" + "\n".join(lines) + "\n"


def error_of(paths: Any, types: Any = None, **data: Any) -> str:
    """The message of the error that reading ends with; it fits on a screen."""
    with pytest.raises(DataError) as caught:
        read_source(make_source(paths, types, **data))
    text = str(caught.value)
    assert len(text.splitlines()) <= 12
    assert len(text) < 1500
    assert caught.value.hint
    assert caught.value.exit_code == 4
    return text


def no_val(path: str) -> dict[str, Any]:
    """A split for tiny files: by time, without val."""
    return {"method": "time", "column": "y", "eval_fraction": 0.4, "val_fraction": 0}
