"""Reading `pipeline.yaml`: what a mistake in it is told as."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfx_pipeline.config import load_config, parse_config
from tfx_pipeline.errors import ConfigError
from transform.config import storage_types

GOOD = """\
name: churn
data:
  path: rows.csv
  label: {column: y, task: binary, classes: ["no", "yes"]}
features:
  columns:
    age: {kind: numeric}
    city: {kind: categorical}
    since: {kind: date, unit: seconds}
"""


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, "p.yaml")
    return str(raised.value)


def test_a_small_config_has_a_default_for_everything_else() -> None:
    config = parse_config(GOOD)
    assert config.model_name == "churn"
    assert config.train.steps > 0
    assert config.data.path == ["rows.csv"]


def test_storage_follows_the_declared_kind() -> None:
    types = storage_types(parse_config(GOOD).transform)
    assert types == {"age": "float", "city": "bytes", "since": "int", "y": "bytes"}


def test_what_means_missing_travels_with_the_model() -> None:
    config = parse_config(GOOD.replace("rows.csv", 'rows.csv\n  missing_values: ["", "?"]'))
    assert config.transform.missing_values == ["?"]


def test_paths_start_from_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(GOOD)
    config = load_config(tmp_path)
    assert config.root == tmp_path.resolve() / "runs"
    assert config.push_dir == tmp_path.resolve() / "runs" / "serving" / "churn"
    assert config.with_run(cache=False).root == config.root


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("path: rows.csv", "pth: rows.csv", 3, "data.pth: unknown key; did you mean 'path'?"),
        ("kind: numeric", "kind: numeric, skale: none", 7, "did you mean 'scale'?"),
        ("kind: numeric", "kind: number", 7, "kind 'number' is unknown. Did you mean 'numeric'?"),
        ("kind: numeric", "kind: numerik", 7, "features.columns.age: kind 'numerik' is unknown"),
        ("kind: numeric", "scale: none", 7, "features.columns.age: `kind` is missing"),
        ("unit: seconds", "unit: second", 9, "'second' is unknown. Did you mean 'seconds'?"),
        ("unit: seconds", "format: '%d.%m'", 9, "%Y is missing"),
        (
            "name: churn",
            "name: churn\ngates: {quality: {thresholds: [{metric: r_squared, min: 0}]}}",
            2,
            "thresholds[0].metric: 'r_squared' is unknown. Did you mean 'r2'?",
        ),
        ("name: churn", "name: 7up", 1, "name: string should match pattern"),
        ("name: churn", "name: [a]", 1, "name: input should be a valid string"),
        ("column: y, ", "", 4, "data.label.column: missing"),
        ('classes: ["no", "yes"]', 'classes: ["no"]', 4, "a binary label needs two `classes`"),
        ("task: binary", "task: clustering", 4, "'multilabel', 'regression', 'quantile'"),
        ("    age:", "    city:", 8, "the key 'city' is given twice"),
        ("features:", "feature:", 5, "did you mean 'features'?"),
        ("name: churn", "name: churn\ntrain: {steps: many}", 2, "train.steps: input should be"),
        ("name: churn", "name: churn\ntrain: {steps: 0}", 2, "greater than or equal to 1"),
        ("name: churn", "name: churn\nmodel: {hidden_units: [0]}", 2, "greater than or equal to 1"),
        (
            "name: churn",
            "name: churn\ntrain: {jit_compile: true, logical_cpus: 2}",
            2,
            "XLA does not compile a step of several replicas",
        ),
        (
            'classes: ["no", "yes"]',
            'classes: ["no", "yes"], classes_file: classes.csv',
            4,
            "give `classes` or `classes_file`, not both",
        ),
        ('classes: ["no", "yes"]', "classes: [no, yes]", 4, "put the word in quotes"),
        (
            "name: churn",
            "name: churn\ntrain: {class_weights: {yes: 3}}",
            2,
            "train.class_weights: YAML takes yes and no for truth values",
        ),
        (
            "name: churn",
            "name: churn\ntrain: {class_weights: balance}",
            2,
            "train.class_weights: 'balance' is neither `balanced` nor a mapping",
        ),
        (
            "name: churn",
            "name: churn\ntune: {space: {train.l2: [0, 1]}}",
            2,
            "tune.space.train.l2: a mapping is expected, with keys of boolean, choice, float, int",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_field(
    old: str, new: str, line: int, says: str
) -> None:
    text = problem(GOOD.replace(old, new, 1))
    assert f"p.yaml:{line}" in text or f"line {line}:" in text
    assert says in text


CLASHES = {
    "missing_indicator": (
        "age: {kind: numeric, missing_indicator: true}\n    age_missing: {kind: numeric}",
        "column 'age_missing' and the missing_indicator of column 'age' both become the "
        "transformed feature 'age_missing_xf'",
        8,
    ),
    "label": (
        "label: {kind: numeric}",
        "column 'label' and the label both become the transformed feature 'label_xf'",
        7,
    ),
    "text": (
        "note_ids: {kind: numeric}\n    note: {kind: text}",
        "column 'note' and column 'note_ids' both become the transformed feature 'note_ids_xf'",
        8,
    ),
    "cross": (
        "a: {kind: categorical}\n    b: {kind: categorical}\n    a_x_b: {kind: numeric}\n"
        "  crosses: [{columns: [a, b]}]",
        "the cross of ['a', 'b'] and column 'a_x_b' both become the transformed feature 'a_x_b_xf'",
        10,
    ),
    "the same cross": (
        "a: {kind: categorical}\n    b: {kind: categorical}\n"
        "  crosses:\n    - {columns: [a, b]}\n    - {columns: [a, b]}",
        "the cross of ['a', 'b'] and the cross of ['a', 'b'] both become",
        11,
    ),
}


@pytest.mark.parametrize("case", CLASHES)
def test_two_features_of_one_name_are_refused_with_the_line(case: str) -> None:
    columns, says, line = CLASHES[case]
    text = problem(f"{GOOD.partition('    age:')[0]}    {columns}\n")
    assert text.startswith(f"p.yaml:{line}: ")
    assert says in text


def test_names_of_a_users_own_function_are_left_to_it() -> None:
    columns = "label: {kind: numeric}\n  preprocessing_fn: mine.py:f\n"
    parse_config(f"{GOOD.partition('    age:')[0]}    {columns}")


def test_several_mistakes_are_told_at_once_in_order() -> None:
    text = problem(GOOD.replace("path:", "pth:").replace("kind: date", "kind: day"))
    assert text.startswith("p.yaml:3: ")
    assert text.index("line 3") < text.index("line 9")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_what_is_no_mapping_is_told(text: str) -> None:
    assert "not a mapping" in problem(text)


def test_broken_yaml_is_told_with_its_line() -> None:
    assert problem(GOOD + "  bad: [1, 2\n").startswith("p.yaml:1")


@pytest.mark.parametrize(
    ("added", "says", "line"),
    [
        ("? [1, 2]\n: x\n", "a key must be a word", 10),
        ("? {a: 1}\n: x\n", "a key must be a word", 10),
        ("run: &x\n  root: *x\n", "an alias within what it stands for", 10),
        ("a: &x [*x]\n", "an alias within what it stands for", 10),
        ("run: {root: \x07}\n", "special characters are not allowed", 10),
        ("run: {root: 2024-13-45}\n", "month must be in 1..12", None),
        ("run: " + "[" * 5000, "nested too deep", None),
    ],
)
def test_odd_yaml_is_told_with_its_line(added: str, says: str, line: int | None) -> None:
    text = problem(GOOD + added)
    assert text.startswith(f"p.yaml:{line}: " if line else "p.yaml")
    assert says in text


def test_a_root_in_a_bucket_is_refused() -> None:
    """It would become a folder named `gs:`, which no other machine sees."""
    text = problem(GOOD + "run: {root: gs://bucket/runs}\n")
    assert "gs://bucket/runs is an address" in text
    assert text.startswith("p.yaml:10: ")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="assay init"):
        load_config(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)


def test_every_field_has_a_description() -> None:
    """`assay schema` is the reference: a field without a description is a hole in it."""
    from pydantic import BaseModel

    from tfx_pipeline.config import PipelineConfig
    from tfx_pipeline.config.messages import models_in

    pending: list[type[BaseModel]] = [PipelineConfig]
    bare = []
    while pending:
        model = pending.pop()
        for name, field in model.model_fields.items():
            if not field.description and name != "kind":
                bare.append(f"{model.__name__}.{name}")
            pending += models_in(field.annotation)
    assert not bare


def test_a_hint_is_given_only_where_it_helps() -> None:
    assert "docs/config.md" in problem(GOOD.replace("path:", "pth:"))
    assert problem(GOOD.replace('["no", "yes"]', "[a]")).endswith("or `above`")


def test_classes_come_from_a_file_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "films.txt").write_text("f1\nf2\nf3\n")
    (tmp_path / "pipeline.yaml").write_text(
        "name: films\n"
        "data:\n"
        "  path: data.csv\n"
        "  label: {column: film, task: multiclass, classes_file: films.txt}\n"
        "features: {columns: {age: {kind: numeric}}}\n"
    )
    assert load_config(tmp_path).data.label.classes == ["f1", "f2", "f3"]
    (tmp_path / "films.txt").unlink()
    with pytest.raises(ConfigError, match=r"films\.txt") as caught:
        load_config(tmp_path)
    assert caught.value.where.endswith("pipeline.yaml:4")
