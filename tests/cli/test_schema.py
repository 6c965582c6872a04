"""`assay schema`: the config's fields, for editors and for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tfx_pipeline.cli.main import app

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("words", "document"),
    [([], "pipeline.schema.json"), (["--markdown"], "config.md")],
    ids=["json", "markdown"],
)
def test_it_is_what_the_docs_have(tmp_path: Path, words: list[str], document: str) -> None:
    expected = (DOCS / document).read_text(encoding="utf-8")
    printed = CliRunner().invoke(app, ["schema", *words])
    assert (printed.exit_code, printed.stdout) == (0, expected)
    file = tmp_path / "reference"
    written = CliRunner().invoke(app, ["schema", *words, "--output", str(file)])
    assert (written.exit_code, written.stdout) == (0, "")
    assert file.read_text(encoding="utf-8") == expected


def test_the_json_is_a_schema() -> None:
    document = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    assert document["$schema"].startswith("https://json-schema.org/")
    assert "data" in document["properties"]
