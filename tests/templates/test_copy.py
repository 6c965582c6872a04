"""A template in a user's folder: whole, and never over what is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tfx_pipeline.config import load_config
from tfx_pipeline.errors import ConfigError, StorageError
from tfx_pipeline.init.command import init
from tfx_pipeline.templates import copy


def test_the_taxi_template_is_a_config_with_its_data(tmp_path: Path, taxi_csv: Path) -> None:
    config = load_config(copy.copy_template("taxi", tmp_path / "new" / "taxi"))
    assert config.name == "taxi"
    assert (config.folder / "data.csv").read_bytes() == taxi_csv.read_bytes()
    assert sorted(path.name for path in config.folder.iterdir()) == ["data.csv", "pipeline.yaml"]


def test_files_that_are_there_stay(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("mine")
    copy.copy_template("taxi", tmp_path)
    assert (tmp_path / "pipeline.yaml").read_text() == "mine"
    assert (tmp_path / "data.csv").stat().st_size > 1_000_000


def test_a_copy_that_breaks_off_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next call would find a data.csv, and train on its first half."""

    def half(source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:1000])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(shutil, "copyfile", half)
        with pytest.raises(StorageError):
            copy.copy_template("taxi", tmp_path)
    assert list(tmp_path.iterdir()) == []
    copy.copy_template("taxi", tmp_path)
    assert (tmp_path / "data.csv").stat().st_size > 1_000_000


def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        copy.copy_template("taxy", tmp_path)
    assert "Did you mean 'taxi'?" in caught.value.hint
    # And all there are, with what they are.
    for name, what in copy.summaries().items():
        assert name in caught.value.hint
        assert what in caught.value.hint
    assert copy.names()[0] == copy.DEFAULT


def test_the_command_lists_them_and_says_what_it_made(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(init)
    listed = CliRunner().invoke(app, ["--list-templates"])
    assert listed.exit_code == 0
    lines = [line.split(maxsplit=1) for line in listed.output.splitlines()]
    assert {name: what.strip() for name, what in lines} == copy.summaries()
    file = tmp_path / "new" / "pipeline.yaml"
    made = CliRunner().invoke(app, ["--template", "churn", "-o", str(file)])
    assert made.exit_code == 0, made.output
    assert "made the rows: synthetic; the best possible auc is 0." in made.output
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "data.csv", "data.py", "pipeline.yaml", "truth.json",
    ]  # fmt: skip
