"""A user's own CSV, from `assay init` to a served prediction, without a line of Python."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.process import model_server_process
from tests.e2e.project import Project, assay
from tfx_pipeline.report.record import RunRecord

pytestmark = pytest.mark.slow

ADULT = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,"
    "sex,capital_gain,capital_loss,hours_per_week,native_country,income\n"
)
SENT = 6


@dataclass(frozen=True)
class Served:
    """A pushed model, and what `assay predict` printed for the first rows of the user's file."""

    record: RunRecord
    answers: list[dict[str, Any]]
    rows: list[dict[str, str]]


Serve = Callable[[Path, str], Served]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """`assay init`, `assay run`, a server, `assay predict`."""

    def run(data: Path, label: str) -> Served:
        config = tmp_path / "pipeline.yaml"
        made = assay("init", "--data", str(data), "--label", label, "--output", str(config))
        assert made.code == 0, made.terminal
        checked = assay("check", str(config))
        assert checked.code == 0, checked.terminal
        project = Project(tmp_path)
        record = project.run()
        # As a user has them, with the label: spaces, gaps and all.
        lines = data.read_text().splitlines(keepends=True)
        few = tmp_path / "few.csv"
        few.write_text("".join(lines[: SENT + 1]))
        name = project.config.model_name
        with model_server_process(name, project.config.push_dir) as address:
            words = ["--address", address, "--config", str(config), "--output", "json"]
            said = assay("predict", str(few), *words)
        assert said.code == 0, said.terminal
        # A note on standard error says that the label is not sent.
        answers = [json.loads(line) for line in said.lines if not line.startswith("note: ")]
        with few.open(newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
        assert len(answers) == len(rows) == SENT
        return Served(record, answers, rows)

    return run


def predicted(record: RunRecord, rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """What the pushed SavedModel answers in this process."""
    import tensorflow as tf

    version = Path(record.pushed_to)
    columns = json.loads((version / "assets.extra" / "assay_signature.json").read_text())["columns"]
    examples = []
    for row in rows:
        features = {}
        for name, kind in columns.items():
            text = row.get(name, "")
            if text in ("", "?"):
                feature = tf.train.Feature()
            elif kind == "float":
                feature = tf.train.Feature(float_list=tf.train.FloatList(value=[float(text)]))
            elif kind == "int":
                feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(text)]))
            else:
                feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
            features[name] = feature
        example = tf.train.Example(features=tf.train.Features(feature=features))
        examples.append(example.SerializeToString())
    model = tf.saved_model.load(str(version))
    answer = model.signatures["serving_default"](tf.constant(examples))
    return {name: value.numpy() for name, value in answer.items()}


def assert_served_as_in_process(served: Served) -> None:
    expected = predicted(served.record, served.rows)
    for number, answer in enumerate(served.answers):
        np.testing.assert_allclose(
            np.atleast_1d(answer["predictions"]), expected["predictions"][number], rtol=1e-5
        )
        if "class" in expected:
            assert answer["class"] == expected["class"][number].decode()


def test_census_income(serve: Serve, shared_data: Path, tmp_path: Path) -> None:
    """32,561 rows with `, ` between fields and `?` for what is missing."""
    data = tmp_path / "adult.csv"
    data.write_text(ADULT + (shared_data / "adult.csv").read_text())
    served = serve(data, "income")
    print(f"adult: AUC {served.record.metrics['auc']:.4f}")
    assert served.record.metrics["auc"] >= 0.90
    assert {answer["class"] for answer in served.answers} <= {"<=50K", ">50K"}
    assert_served_as_in_process(served)


def test_diabetes_progression(serve: Serve, tmp_path: Path) -> None:
    from sklearn.datasets import load_diabetes

    data = tmp_path / "diabetes.csv"
    load_diabetes(as_frame=True).frame.to_csv(data, index=False)
    served = serve(data, "target")
    print(f"diabetes: {served.record.metrics}")
    # A linear model explains 0.35 to 0.5 of the variance of 442 patients; the mean none.
    assert served.record.metrics["r2"] > 0.3
    assert_served_as_in_process(served)


def test_kinds_of_wine(serve: Serve, tmp_path: Path) -> None:
    from sklearn.datasets import load_wine

    data = tmp_path / "wine.csv"
    frame = load_wine(as_frame=True).frame
    frame["target"] = frame["target"].map({0: "barolo", 1: "grignolino", 2: "barbera"})
    frame.to_csv(data, index=False)
    served = serve(data, "target")
    print(f"wine: {served.record.metrics}")
    assert served.record.metrics["accuracy"] > 0.9
    assert_served_as_in_process(served)
