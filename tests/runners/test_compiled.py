"""The file that `assay compile` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from tests.conformance import pipeline
from tests.runners.conftest import YAML
from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import ConfigError, EnvironmentMismatch
from tfx_pipeline.runners import mlmd
from tfx_pipeline.runners.compiled import Compiled, compile_config, read, to_json, write, write_to

SERVER = """
  metadata: {{backend: {backend}, host: db.example, database: mlmd, user: assay}}
"""


def test_is_read_as_it_was_written(config: PipelineConfig, tmp_path: Path) -> None:
    compiled = compile_config(config, pipeline.create)
    [path] = write_to(compiled, tmp_path / "out")
    assert path.name == "doubles.ir.json"
    found = read(path)
    # Of the message's text: an Any holds bytes, and protobuf writes a map's entries in any order.
    assert json_format.MessageToDict(found.ir) == json_format.MessageToDict(compiled.ir)
    assert found.config.model_dump() == config.model_dump()
    assert found.config.root == config.root
    assert found.config.source == config.source
    assert found.git_commit == compiled.git_commit
    assert found.light == compiled.light == set(pipeline.NODES) - {"Source"}


def test_the_same_config_gives_the_same_bytes(config: PipelineConfig) -> None:
    first = to_json(compile_config(config, pipeline.create))
    assert to_json(compile_config(config, pipeline.create)) == first


def server(config: PipelineConfig, backend: str) -> PipelineConfig:
    path = config.folder / "pipeline.yaml"
    path.write_text(YAML + SERVER.format(backend=backend))
    return load_config(path)


@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_a_password_is_named_and_filled_in_where_it_runs(
    config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("ASSAY_METADATA_PASSWORD", "open 'sesame'")
    config = server(config, backend)
    path = tmp_path / "compiled.json"
    write(compile_config(config, pipeline.create), path)
    assert "sesame" not in path.read_text()
    compiled = read(path)
    mlmd.reveal_password(compiled.ir)
    assert mlmd.connection_of(compiled.ir) == mlmd.connection_config(config)
    monkeypatch.delenv("ASSAY_METADATA_PASSWORD")
    with pytest.raises(EnvironmentMismatch, match="no password"):
        mlmd.reveal_password(read(path).ir)
    # Whoever compiles need not know it.
    assert to_json(compile_config(config, pipeline.create)) == path.read_text()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "No such file"),
        ("{", "not a compiled pipeline"),
        ("[]", "not a compiled pipeline of this version"),
        ('{"format": 99}', "not a compiled pipeline of this version"),
    ],
)
def test_another_file_is_told(tmp_path: Path, content: str | None, match: str) -> None:
    path = tmp_path / "pipeline.ir.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=match) as raised:
        read(path)
    assert "assay compile" in raised.value.hint


@pytest.mark.parametrize("damage", ["config", "pipeline", "folder"])
def test_a_damaged_file_is_told(compiled: Compiled, tmp_path: Path, damage: str) -> None:
    content = json.loads(to_json(compiled))
    if damage == "folder":
        del content["folder"]
    else:
        content[damage]["no_such_field"] = 1
    path = tmp_path / "pipeline.ir.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="damaged, or of another version"):
        read(path)


@pytest.fixture
def compiled(config: PipelineConfig) -> Compiled:
    return compile_config(config, pipeline.create)
