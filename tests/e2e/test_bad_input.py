"""Every mistake of a user ends `assay run` with its exit code and one screen that names it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.project import Project, Result, assay, head, make_project, states
from tfx_pipeline.errors import Busy, ConfigError, DataError, NodeFailed, StorageError
from tfx_pipeline.runners.local.folder import held

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def few_rows(tmp_path_factory: pytest.TempPathFactory, taxi_csv: Path) -> Path:
    return head(taxi_csv, tmp_path_factory.mktemp("few") / "taxi.csv", 200)


@pytest.fixture(scope="module")
def transformed(few_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose nodes before training are cached."""
    project = make_project(tmp_path_factory.mktemp("transformed"), few_rows)
    project.run("--to", "Transform")
    return project


@pytest.fixture
def project(few_rows: Path, tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", few_rows)


def refused(project: Project, code: int, *said: str) -> Result:
    """`assay run` ends with this code and says this, on one screen."""
    result = project.assay("run")
    assert result.code == code, result.terminal
    for text in said:
        assert text in result.terminal, result.terminal
    assert "Traceback" not in result.terminal
    error = result.terminal[result.terminal.index("error:") :]
    assert len(error.splitlines()) <= 12, error
    assert len(result.lines) <= 24, result.terminal
    assert not list(project.folder.glob("runs/serving/*/*"))
    return result


def change_rows(project: Project, change: Callable[[Rows], None]) -> None:
    """Reads data.csv, lets `change` have its rows, writes it."""
    path = project.folder / "data.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def set_all(column: str, value: str, only: slice = slice(None)) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        for row in rows[only]:
            row[column] = value

    return change


# Before anything is imported: the config, and whether what it names is there.


def test_no_config(tmp_path: Path) -> None:
    result = assay("run", str(tmp_path / "pipelin.yaml"))
    assert result.code == ConfigError.exit_code
    assert "no such config file" in result.terminal
    assert "assay init" in result.terminal


def test_an_unknown_key(project: Project) -> None:
    project.change("train.step", 10)
    refused(
        project, ConfigError.exit_code, "train.step: unknown key; did you mean 'steps'?", "yaml:"
    )
    assert not project.runs


def test_a_wrong_type(project: Project) -> None:
    project.change("train.steps", "many")
    refused(project, ConfigError.exit_code, "train.steps: ", "(found 'many')", "yaml:")


def test_no_yaml(project: Project) -> None:
    path = project.folder / "pipeline.yaml"
    path.write_text(path.read_text() + "\nname: [twice\n")
    result = project.assay("run")
    assert result.code == ConfigError.exit_code
    assert "not valid YAML" in result.terminal


def test_a_missing_file(project: Project) -> None:
    (project.folder / "data.csv").rename(project.folder / "trips.csv")
    refused(project, DataError.exit_code, "data.csv", "the file does not exist", "trips.csv")
    assert not project.runs


def test_a_function_that_is_not_importable(project: Project) -> None:
    project.change("features.preprocessing_fn", "mine.py:features")
    refused(project, ConfigError.exit_code, "mine.py:features", "there is no file")
    (project.folder / "mine.py").write_text("import nothing_of_that_name\n")
    refused(project, ConfigError.exit_code, "nothing_of_that_name", "mine.py:1")
    (project.folder / "mine.py").write_text("def feature(inputs):\n    return {}\n")
    refused(project, ConfigError.exit_code, "no function 'features'", "Did you mean 'feature'?")
    project.change("features.preprocessing_fn", "no.such.module.features")
    refused(project, ConfigError.exit_code, "there is no module 'no'")


@pytest.mark.parametrize("option", ["--from", "--to", "--only"])
def test_a_node_that_is_not_there(project: Project, option: str) -> None:
    result = project.assay("run", option, "Trainr")
    assert result.code == ConfigError.exit_code
    assert "no such node: Trainr\n" in result.terminal
    assert "Did you mean Trainer?" in result.terminal
    assert not project.runs


def test_a_hint_names_the_config_that_was_given(project: Project) -> None:
    config = (project.folder / "pipeline.yaml").rename(project.folder / "mine.yaml")
    result = assay("run", "--resume", str(config))
    assert result.code == ConfigError.exit_code
    assert f"Start a new one with `assay run {config}`" in result.terminal


def test_two_runs_in_one_folder(project: Project) -> None:
    with held(project.config.root):
        refused(project, Busy.exit_code, "is using this folder", "run.root")


def test_a_file_where_the_runs_should_be(project: Project) -> None:
    (project.folder / "runs").write_text("")
    refused(project, StorageError.exit_code, "a file is in the way of a folder", "runs")


# Found in the columns and first rows, which are read before anything runs.


def test_an_empty_csv(project: Project) -> None:
    (project.folder / "data.csv").write_text("")
    refused(project, DataError.exit_code, "data.csv", "the file is empty")
    assert not project.runs


def test_dates_that_are_no_iso_dates(project: Project) -> None:
    project.change("features.columns.trip_start_timestamp", {"kind": "date"})
    change_rows(project, set_all("trip_start_timestamp", "03.10.2010"))
    refused(project, DataError.exit_code, "line 2", "is not an ISO 8601 date", "'%d.%m.%Y'")
    assert not project.runs


def test_ragged_rows(project: Project) -> None:
    path = project.folder / "data.csv"
    lines = path.read_text().splitlines()
    lines[6] += ",1,2"
    path.write_text("\n".join(lines) + "\n")
    refused(project, DataError.exit_code, "data.csv, line 7", "expected 18 fields, found 20")


def test_a_column_that_the_data_lacks(project: Project) -> None:
    project.change("features.columns.trip_mile", {"kind": "numeric"})
    refused(
        project, DataError.exit_code, "there is no column 'trip_mile'", "Did you mean 'trip_miles'?"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_all("tips", "", slice(3, 5)), ["line 5", "'tips'", "the label is missing in 2 rows"]),
        (set_all("fare", "nan", slice(4, 5)), ["line 6", "'fare'", "not a number (NaN)"]),
        (set_all("fare", "inf", slice(4, 5)), ["line 6", "'fare'", "infinite"]),
        (set_all("fare", "cheap", slice(4, 5)), ["line 6", "'fare'", "'cheap' is not a number"]),
    ],
    ids=["label_missing", "nan", "infinity", "text"],
)
def test_values(project: Project, change: Callable[[Rows], None], said: list[str]) -> None:
    change_rows(project, change)
    refused(project, DataError.exit_code, "data.csv", *said)


def test_bytes_that_are_no_utf8(project: Project) -> None:
    path = project.folder / "data.csv"
    path.write_bytes(path.read_bytes().replace(b"Credit Card", b"Cr\xe9dit Card"))
    refused(project, DataError.exit_code, "data.csv, line 2", "0xe9 is not UTF-8", "data.encoding")


# Found by the first node, which reads every row.


@pytest.mark.slow
def test_a_label_that_never_varies(project: Project) -> None:
    change_rows(project, set_all("tips", "0"))
    refused(project, DataError.exit_code, "data.csv", "the label is False in all 200 rows")
    record = project.latest
    assert record.state == "failed"
    assert record.exit_code == DataError.exit_code
    assert states(record)["ExampleGen"] == "failed"
    assert set(states(record).values()) == {"failed", "not run"}


@pytest.mark.slow
def test_a_type_that_changes_between_files(project: Project) -> None:
    (project.folder / "later.csv").write_bytes((project.folder / "data.csv").read_bytes())
    change_rows(project, set_all("trip_miles", "far"))
    project.change("data.path", ["later.csv", "data.csv"])
    refused(
        project,
        DataError.exit_code,
        "data.csv, line 2, column 'trip_miles'",
        "'far' is not a number (200 such values)",
        "In later.csv the column holds numbers",
    )


@pytest.mark.slow
def test_fewer_rows_than_a_batch(transformed: Project) -> None:
    said = "4096", "'train' has only", "train.batch_size"
    with transformed.changed({"train.batch_size": 4096}):
        refused(transformed, ConfigError.exit_code, *said)
    assert states(transformed.latest)["Trainer"] == "failed"


# User code, found when its node calls it.

RAISES = """
import tensorflow as tf


def build(features, config):
    raise ValueError("the width is odd")


def features(inputs):
    fare = inputs["fare"]
    return {"fare_xf": tf.zeros(fare.no_such_attribute)}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "name", "said", "node"),
    [
        ("features.preprocessing_fn", "features", "no_such_attribute", "Transform"),
        ("model.builder", "build", "ValueError: the width is odd", "Trainer"),
    ],
)
def test_a_function_that_raises(
    transformed: Project, field: str, name: str, said: str, node: str
) -> None:
    project = transformed
    (project.folder / "mine.py").write_text(RAISES)
    with project.changed({field: f"mine.py:{name}"}):
        refused(project, NodeFailed.exit_code, f"mine.py:{name} raised", said, "mine.py:")
        found = states(project.latest)
    assert found[node] == "failed"
    assert found["Pusher"] == "not run"


def test_what_is_tested_here_is_sound_in_the_beginning(few_rows: Path, tmp_path: Path) -> None:
    """The project that each test spoils passes every check before it does."""
    project = make_project(tmp_path, few_rows)
    result = project.assay("check")
    assert result.code == 0, result.terminal
    assert "checks passed" in result.terminal
