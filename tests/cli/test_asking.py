"""What `assay demo` and `assay run` show of a served answer, beside the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rich.console import Console

from serving.client import encode_examples
from tests.e2e.project import TAXI
from tfx_pipeline.cli.asking import _prediction, _row, _table, _truth
from tfx_pipeline.config.pipeline import PipelineConfig
from transform.config import LabelConfig

TOPICS = {"task": "multilabel", "classes": ["sport", "politics", "tech"]}


def _label(**fields: Any) -> LabelConfig:
    return LabelConfig.model_validate({"column": "y", **fields})


@pytest.mark.parametrize(
    ("label", "predictions", "classes", "shown"),
    [
        (_label(classes=["no", "yes"]), [0.25], b"no", "no (0.250)"),
        (_label(above=0.2), [0.25], None, "0.25"),
        (_label(task="multiclass", classes=["a", "b"]), [0.3, 0.7], b"b", "b (0.700)"),
        (_label(**TOPICS), [0.9, 0.8, 0.1], b"sport|politics", "sport|politics"),
        (_label(**TOPICS), [0.1, 0.2, 0.1], b"", "-"),
        (_label(task="regression"), [12.345], None, "12.35"),
        (_label(task="quantile"), [9.1, 12.3, 17.0], None, "0.5: 12.3 (9.1 to 17)"),
        (_label(task="quantile", quantiles=[0.95]), [12.3], None, "0.95: 12.3"),
    ],
)
def test_predictions_as_people_read_them(
    label: LabelConfig, predictions: list[float], classes: bytes | None, shown: str
) -> None:
    answer = {"predictions": np.array([predictions], np.float32)}
    if classes is not None:
        answer["class"] = np.array([classes], object)
    assert _prediction(label, answer, 0) == shown


@pytest.mark.parametrize(
    ("label", "value", "shown"),
    [
        (_label(**TOPICS), "sport|tech", "sport|tech"),
        (_label(**TOPICS), ["sport", "tech"], "sport|tech"),
        (_label(**TOPICS, separator=", "), ["sport", "tech"], "sport, tech"),
        (_label(**TOPICS), "", "-"),
        (_label(**TOPICS), [], "-"),
        (_label(task="quantile"), 12.5, "12.5"),
        (_label(above=0.2), 0.3, "1"),
    ],
)
def test_the_truth_is_read_from_the_row(label: LabelConfig, value: Any, shown: str) -> None:
    [serialized] = encode_examples(
        [{"y": value, "x": 1.0}],
        {"y": "float" if isinstance(value, float) else "bytes", "x": "float"},
    )
    assert _truth(label, _row(serialized, label)) == shown


def test_names_with_brackets_are_no_markup() -> None:
    label = {"column": "y", "classes": ["[no]", "yes"]}
    config = PipelineConfig.model_validate({**TAXI, "data": {"path": "x.csv", "label": label}})
    answer = {"predictions": np.array([[0.25]]), "class": np.array([b"[no]"], object)}
    console = Console(width=80)
    with console.capture() as captured:
        console.print(_table(config, [{"company": b"[red] cabs", "y": b"[no]"}], answer))
    assert captured.get().splitlines()[1].split() == ["[red]", "cabs", "[no]", "(0.250)", "[no]"]
