"""The names of nodes, and what a wrong one is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.config import PipelineConfig, load_config
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.graph import create_pipeline
from tfx_pipeline.runners import names

GATES: list[dict[str, Any]] = [
    {},
    {"schema_path": "schema.pbtxt"},
    {"drift": {"x": {"jensen_shannon": 0.1}}},
    {"skew": {"x": {"jensen_shannon": 0.1}}, "drift": {"x": {"jensen_shannon": 0.1}}},
]


@pytest.mark.parametrize("gate", GATES)
def test_they_are_those_of_the_graph(config: PipelineConfig, tmp_path: Path, gate: object) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(path.read_text() + f"gates: {{data: {gate}}}\n")
    (tmp_path / "schema.pbtxt").write_text("")
    config = load_config(path)
    graph = [node.id for node in create_pipeline(config).components]
    assert sorted(names.node_ids(config)) == sorted(graph)


def test_a_tuner_is_one_of_them(config: PipelineConfig, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(path.read_text() + "tune: {space: {train.l2: {float: [0, 1]}}}\n")
    config = load_config(path)
    graph = [node.id for node in create_pipeline(config).components]
    assert sorted(names.node_ids(config)) == sorted(graph)
    assert names.node_ids(config).index("Tuner") < names.node_ids(config).index("Trainer")


def test_a_wrong_one_is_said_once_with_what_may_have_been_meant(config: PipelineConfig) -> None:
    known = names.node_ids(config)
    names.check(["Trainer", "Pusher"], known)
    with pytest.raises(ConfigError) as raised:
        names.check(["Evaluatr", "Evaluatr"], known)
    assert raised.value.headline == "no such node: Evaluatr"
    assert raised.value.hint.startswith("Did you mean Evaluator? The nodes are: ExampleGen, ")
    with pytest.raises(ConfigError) as raised:
        names.check(["trainer", "nothing"], known)
    assert raised.value.headline == "no such node: trainer, nothing"
    assert raised.value.hint.startswith("Did you mean Trainer? ")
