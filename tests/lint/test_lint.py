"""`assay check`: configs that parse and cannot end well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.config.test_load import GOOD
from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import AssayError, ConfigError, DataError
from tfx_pipeline.lint import lint

GATE = "gates: {quality: {thresholds: [{metric: auc, min: 0.6}]}}\n"


def config(tmp_path: Path, text: str) -> PipelineConfig:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    (tmp_path / "rows.csv").write_text("age,city,since,y\n1,a,1,yes\n2,b,2,no\n")
    return load_config(path)


def test_a_sound_config_passes(tmp_path: Path) -> None:
    lint(config(tmp_path, GOOD + GATE))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD, "gates fail closed"),
        (GOOD.replace("    age:", "    y:") + GATE, "this column is the label"),
        (
            GOOD + GATE.replace("quality: {", "quality: {slices: [[citi]], "),
            "Did you mean 'city'",
        ),
        (
            GOOD + "train: {early_stopping: {}}\n" + GATE + "#",
            "no validation split",
        ),
        (
            GOOD + "train: {keep: best}  # no early_stopping\n" + GATE + "#",
            "no validation split",
        ),
        (
            GOOD + GATE.replace("gates: {", "gates: {data: {drift: {age: {linf: 0.1}}}, "),
            "jensen_shannon",
        ),
        (
            GOOD + GATE.replace("gates: {", "gates: {data: {skew: {agee: {linf: 0.1}}}, "),
            "Did you mean 'age'",
        ),
        (
            GOOD + GATE.replace("gates: {", "gates: {data: {schema_path: my.pbtxt}, "),
            "no such file",
        ),
    ],
)
def test_a_problem_names_its_field(tmp_path: Path, text: str, says: str) -> None:
    if "early_stopping" in text:
        text = text.replace("  path: rows.csv", "  path: rows.csv\n  split: {val_fraction: 0}")
    with pytest.raises(ConfigError, match=says):
        lint(config(tmp_path, text))


AUC = "{metric: auc, min: 0.6}"


@pytest.mark.parametrize(
    ("gate", "line", "says"),
    [
        (f"thresholds:\n      - {AUC}\n      - {{metric: r2, min: 0}}", 14, "[1].metric"),
        (f"thresholds: [{AUC}]\n    slices:\n      - [city]\n      - [citi]", 15, "slices[1]"),
    ],
)
def test_a_problem_has_its_line(tmp_path: Path, gate: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        lint(config(tmp_path, f"{GOOD}gates:\n  quality:\n    {gate}\n").with_run(cache=False))
    assert raised.value.where.endswith(f"pipeline.yaml:{line}")
    assert says in raised.value.headline


def test_several_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 problems\n(.|\n)*  line 7: features.columns.y: "):
        lint(config(tmp_path, GOOD.replace("    age:", "    y:")))


@pytest.mark.parametrize(
    ("builder", "says"),
    [
        ("nets.py:build", "nets.py:1 imports Keras 3, and line 2 tf_keras"),
        ("nets.py:biuld", "Did you mean 'build'"),
        ("net.py:build", "there is no file"),
        ("no_such_package.build", "there is no module"),
    ],
)
def test_a_users_function_is_looked_at_before_anything_runs(
    tmp_path: Path, builder: str, says: str
) -> None:
    body = "def build(features, config):\n    ...\n"
    (tmp_path / "nets.py").write_text(f"import keras\nimport tf_keras\n\n{body}")
    with pytest.raises(AssayError, match=says):
        lint(config(tmp_path, GOOD + GATE + f"model: {{builder: '{builder}'}}\n"))


def test_a_missing_data_file_is_told_before_anything_runs(tmp_path: Path) -> None:
    checked = config(tmp_path, GOOD + GATE)
    (tmp_path / "rows.csv").unlink()
    with pytest.raises(AssayError, match=r"rows\.csv"):
        lint(checked)


ROWS = "age,city,since,y\n" + "1,a,1,yes\n2,b,2,no\n" * 10


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"age": [1.0] * 9, "city": ["a"] * 9, "since": [1] * 9, "y": ["yes"] * 9}
    parquet.write_table(pa.table(columns), path)


def write_tfrecord(path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for _ in range(9):
            example = tf.train.Example()
            feature = example.features.feature
            feature["age"].float_list.value.append(1.0)
            feature["city"].bytes_list.value.append(b"a")
            feature["since"].int64_list.value.append(1)
            feature["y"].bytes_list.value.append(b"yes")
            writer.write(example.SerializeToString())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    age:", "    aeg:", "no column 'aeg'.*Did you mean 'age'"),
        ("column: y", "column: yy", "no column 'yy'.*The columns found: age, city, since, y"),
        (
            "city: {kind: categorical}",
            "city: {kind: numeric}",
            "column 'city': 'a' is not a number",
        ),
        ("since: {kind: date, unit: seconds}", "city: {kind: date}", "'a' is not an ISO 8601 date"),
        ('["no", "yes"]', '["no", "ja"]', "column 'y': 'yes' is none of the label's classes"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "parquet", "tfrecord"])
def test_the_data_are_what_the_config_says(
    tmp_path: Path, form: str, old: str, new: str, says: str
) -> None:
    if "city: {kind: date}" in new:
        old, new = f"    city: {{kind: categorical}}\n    {old}", f"    {new}"
    text = (GOOD + GATE).replace("path: rows.csv", f"path: rows.{form}")
    sound = config(tmp_path, text)
    (tmp_path / "rows.csv").write_text(ROWS)
    write_parquet(tmp_path / "rows.parquet")
    write_tfrecord(tmp_path / "rows.tfrecord")
    lint(sound)
    wrong = text.replace(old, new)
    assert wrong != text
    (tmp_path / "pipeline.yaml").write_text(wrong)
    with pytest.raises(DataError, match=f"(?s){says}") as raised:
        lint(load_config(tmp_path))
    assert f"rows.{form}" in raised.value.where


def test_only_the_first_rows_are_read(tmp_path: Path) -> None:
    checked = config(tmp_path, GOOD + GATE)
    rows = ROWS + "1,a,1,yes\n" * 10_000
    (tmp_path / "rows.csv").write_text(rows + "much,a,1,yes\n")
    lint(checked)
    (tmp_path / "rows.csv").write_text("age,city,since,y\nmuch,a,1,yes\n" + rows.partition("\n")[2])
    with pytest.raises(DataError, match=r"line 2.*\n.*\nOnly the first 5,000 rows"):
        lint(checked)


def test_a_later_file_that_lacks_a_column(tmp_path: Path) -> None:
    checked = config(
        tmp_path, (GOOD + GATE).replace("path: rows.csv", "path: [rows.csv, more.csv]")
    )
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "more.csv").write_text("age,y\n1,yes\n")
    with pytest.raises(DataError, match=r"more\.csv: .* no column 'city'.*, which rows\.csv"):
        lint(checked)


def test_a_feature_that_comes_late_in_a_tfrecord_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx_pipeline.ingest import first_rows

    text = (GOOD + GATE).replace("path: rows.csv", "path: rows.tfrecord")
    checked = config(tmp_path, text.replace("    age:", "    rare: {kind: numeric}\n    age:"))
    write_tfrecord(tmp_path / "rows.tfrecord")
    with pytest.raises(DataError, match="no column 'rare'"):
        lint(checked)
    monkeypatch.setattr(first_rows.check_first_rows, "__defaults__", (5,))
    lint(checked)


def test_checking_the_data_needs_no_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; from tfx_pipeline.config import load_config\n"
        "from tfx_pipeline.lint import lint\n"
        f"lint(load_config({str(tmp_path)!r})); assert 'tensorflow' not in sys.modules"
    )
    write_tfrecord(tmp_path / "rows.tfrecord")
    for form in ("csv", "tfrecord"):
        config(tmp_path, (GOOD + GATE).replace("path: rows.csv", f"path: rows.{form}"))
        subprocess.run([sys.executable, "-c", code], check=True)
