"""What stands at the head of every template; and that `assay check` lets its config by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tfx_pipeline.config import load_config
from tfx_pipeline.lint import lint
from tfx_pipeline.templates import copy

FIELDS = ["Run it", "Data", "Model", "Expected", "Time", "Check it"]


def header(name: str) -> str:
    lines = (Path(copy.__file__).parent / name / "pipeline.yaml").read_text().splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


@pytest.mark.parametrize("name", copy.names())
def test_the_header_says_command_data_metric_and_wall_time(name: str) -> None:
    text = header(name)
    fields = dict(re.findall(r"^# ([A-Z][a-z ]+): +(.+)$", text, re.MULTILINE))
    assert [known for known in FIELDS if known in fields] == FIELDS
    assert fields["Run it"].startswith(f"assay demo {name} ")
    assert re.search(r"(AUC|accuracy|recall_at_10) (at least )?\d\.\d{2,}", fields["Expected"])
    assert re.match(r"\d+ s ", fields["Time"])
    assert "TODO" not in text
    made = (Path(copy.__file__).parent / name / "data.py").exists()
    real = name in ("taxi", "digits")
    assert fields["Data"].startswith("synthetic") != real
    assert made == (name != "taxi")


@pytest.mark.parametrize("name", copy.names())
def test_the_config_is_checked_with_its_data(name: str, tmp_path: Path) -> None:
    config = load_config(copy.copy_template(name, tmp_path, rows=600))
    assert config.name == name
    lint(config)


def test_the_docs_have_every_template(repo: Path) -> None:
    text = (repo / "docs" / "templates.md").read_text()
    assert [name for name in copy.names() if f"assay demo {name}`" not in text] == []
