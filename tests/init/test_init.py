"""`assay init`: labels, splits, what it asks for and refuses, and the file that it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.init.tables import (
    Init,
    call,
    error_of,
    random_table,
    split_sizes,
    table,
)
from tfx_pipeline.config import load_config
from tfx_pipeline.errors import ConfigError, DataError
from tfx_pipeline.lint import lint


def test_few_rows_have_no_val_split(run_init: Init) -> None:
    config = run_init(random_table(60), "label")
    assert config.data.split.val_fraction == 0
    assert config.train.early_stopping is None
    sizes = split_sizes(config)
    assert sizes["train"] > 20
    assert sizes["eval"] > 10


def test_the_rarer_class_is_positive_unless_its_name_says_otherwise(run_init: Init) -> None:
    text = random_table()
    flipped = text.replace("yes", "B").replace("no\n", "A\n")
    assert run_init(flipped, "label").data.label.classes == ["A", "B"]
    mostly = text.replace("yes", "?x").replace("no\n", "yes\n").replace("?x", "no")
    assert run_init(mostly, "label", "--force").data.label.classes == ["no", "yes"]


@pytest.mark.parametrize(
    ("positive", "negative"),
    [("ja", "nein"), ("Oui", "Non"), ("sí", "no"), ("vero", "falso"), ("WAHR", "FALSCH")],
)
def test_yes_is_positive_in_other_languages(run_init: Init, positive: str, negative: str) -> None:
    text = random_table().replace("yes", "?x").replace("no\n", f"{positive}\n")
    config = run_init(text.replace("?x", negative), "label")  # Here yes is the more frequent.
    assert config.data.label.classes == [negative, positive]


def test_what_is_asked_is_checked_before_what_is_in_the_way(tmp_path: Path) -> None:
    output, path = tmp_path / "pipeline.yaml", tmp_path / "a.csv"
    output.write_text("mine: true\n")
    path.write_text(random_table(), encoding="utf-8")
    for data, label, says in (
        (tmp_path / "nope.csv", "label", "the file does not exist"),
        (path, "labl", "there is no column 'labl'"),
        (path, "label", "the file exists already"),
    ):
        error = error_of("--data", str(data), "--label", label, "-o", str(output))
        assert says in str(error)
    assert output.read_text() == "mine: true\n"


def test_an_unknown_label_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(random_table(), encoding="utf-8")
    error = error_of("--data", str(path), "--label", "Labell", "-o", str(tmp_path / "p.yaml"))
    assert "there is no column 'Labell'" in str(error)
    assert "Did you mean 'label'?" in error.hint


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (lambda i: "" if i == 9 else "ab"[i % 2], "is missing in 1 of 400 rows, first in row 10"),
        (lambda i: "a", "is 'a' in all 400 rows"),
        (lambda i: f"name {i}", "400 different texts, too many to be classes"),
    ],
)
def test_labels_that_no_model_can_learn(
    run_init: Init, label: Callable[[int], str], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        run_init(random_table(target=label), "target")


def test_nothing_left_to_learn_from(run_init: Init) -> None:
    with pytest.raises(DataError, match="no column is left to be a feature"):
        run_init(table({"id": range(1, 101), "y": [i % 2 for i in range(100)]}), "y")


def test_a_file_is_not_overwritten(run_init: Init) -> None:
    run_init(random_table(), "label")
    with pytest.raises(ConfigError, match="the file exists already"):
        run_init(random_table(), "label")
    run_init(random_table(), "label", "--force")


def test_a_template_is_copied(tmp_path: Path) -> None:
    output = tmp_path / "new" / "pipeline.yaml"
    result = call("--template", "taxi", "-o", str(output))
    assert result.exception is None, result.output
    assert load_config(output).data.label.column == "tips"
    assert "no such template: 'taxy'" in str(
        error_of("--template", "taxy", "-o", str(tmp_path / "x") + "/pipeline.yaml")
    )


def test_neither_data_nor_template(tmp_path: Path) -> None:
    error = error_of("-o", str(tmp_path / "p.yaml"))
    assert "name your data, or a template" in str(error)


def test_only_the_first_rows_of_large_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx_pipeline.ingest import csv_reader
    from tfx_pipeline.init.profile import profile

    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 2000)
    path = tmp_path / "a.csv"
    path.write_text(random_table(2000), encoding="utf-8")
    found = profile(path, "label", max_rows=500)
    assert found.sampled
    assert 500 <= found.rows < 1000


def test_what_is_written_is_plain_yaml_with_comments(run_init: Init, tmp_path: Path) -> None:
    run_init(random_table(), "label")
    text = (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    assert text.count("#") > 10
    assert set(yaml.safe_load(text)) == {"name", "data", "features", "model", "train", "gates"}
    assert "path: rows.csv" in text


def test_compression_is_two_comments_away(run_init: Init, tmp_path: Path) -> None:
    config = run_init(random_table(), "label")
    assert config.compress is None
    assert config.source is not None
    text = config.source.read_text()
    config.source.write_text(
        text.replace("# max_drop:", "max_drop:").replace("# compress:", "compress:")
    )
    compressed = load_config(config.source)
    assert compressed.compress is not None
    lint(compressed)
