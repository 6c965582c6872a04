"""`assay check`: configs that parse and cannot end well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.test_load import GOOD
from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import AssayError, ConfigError
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


def test_several_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 problems"):
        lint(config(tmp_path, GOOD.replace("    age:", "    y:")))


@pytest.mark.parametrize(
    ("builder", "says"),
    [
        ("nets.py:build", "imports Keras 3"),
        ("nets.py:biuld", "Did you mean 'build'"),
        ("net.py:build", "there is no file"),
        ("no_such_package.build", "there is no module"),
    ],
)
def test_a_users_function_is_looked_at_before_anything_runs(
    tmp_path: Path, builder: str, says: str
) -> None:
    (tmp_path / "nets.py").write_text("import keras\n\ndef build(features, config):\n    ...\n")
    with pytest.raises(AssayError, match=says):
        lint(config(tmp_path, GOOD + GATE + f"model: {{builder: '{builder}'}}\n"))


def test_a_missing_data_file_is_told_before_anything_runs(tmp_path: Path) -> None:
    checked = config(tmp_path, GOOD + GATE)
    (tmp_path / "rows.csv").unlink()
    with pytest.raises(AssayError, match=r"rows\.csv"):
        lint(checked)
