"""Which nodes a config with compression and budgets has, and what each of them is given."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.project import NODES, TAXI
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.runners import ir as ir_lib
from tfx_pipeline.runners import names


def compiled(tmp_path: Path, **sections: Any) -> tuple[PipelineConfig, Any]:
    from tfx_pipeline.graph import create_pipeline

    document = copy.deepcopy(TAXI)
    for name, section in sections.items():
        if isinstance(section, dict) and name in document:
            document[name] |= section
        else:
            document[name] = section
    document["run"] = {**document["run"], "root": str(tmp_path / "runs")}
    config = PipelineConfig.model_validate(document)
    return config, ir_lib.compile_pipeline(create_pipeline(config), "run")


def node(ir: Any, node_id: str) -> Any:
    return ir_lib.node_spec(ir, node_id)


def producers(ir: Any, node_id: str, key: str) -> list[str]:
    """The nodes that an input comes from."""
    return [c.producer_node_query.id for c in node(ir, node_id).inputs.inputs[key].channels]


@pytest.mark.parametrize(
    ("sections", "more"),
    [
        ({}, []),
        ({"compress": "auto"}, ["Compressor", "LatestPushedModel", "ServingGate"]),
        ({"gates": {"memory_mb": {"max": 100}}}, ["LatestPushedModel", "ServingGate"]),
        ({"gates": {"infra_validator": {}}}, ["InfraValidator"]),
        (
            {"compress": "auto", "gates": {"infra_validator": {}}},
            ["Compressor", "LatestPushedModel", "ServingGate", "InfraValidator"],
        ),
    ],
)
def test_the_nodes_are_those_whose_names_are_known_without_tfx(
    tmp_path: Path, sections: dict[str, Any], more: list[str]
) -> None:
    config, ir = compiled(tmp_path, **sections)
    ids = [each.id for each in ir_lib.nodes(ir)]
    assert sorted(ids) == sorted(names.node_ids(config))
    assert set(ids) - set(NODES) == set(more)
    assert ids[-1] == "Pusher"


def test_the_pusher_takes_the_winner_and_both_blessings(tmp_path: Path) -> None:
    _, ir = compiled(tmp_path, compress="auto")
    for key in ("model", "model_blessing", "infra_blessing"):
        assert producers(ir, "Pusher", key) == ["ServingGate"]
    assert producers(ir, "ServingGate", "candidates") == ["Compressor"]
    assert producers(ir, "ServingGate", "champion") == ["LatestPushedModel"]
    # A refusal of the Evaluator leaves them out.
    for behind in ("Compressor", "ServingGate", "Pusher"):
        assert "Evaluator" in node(ir, behind).upstream_nodes


def test_infra_validator_has_the_last_word_on_what_is_pushed(tmp_path: Path) -> None:
    asked = {"platform": "kubernetes", "image": "registry/serving", "tags": ["2.19.1"], "rows": 3}
    _, ir = compiled(tmp_path, compress="auto", gates={"infra_validator": asked})
    assert producers(ir, "InfraValidator", "model") == ["ServingGate"]
    assert producers(ir, "Pusher", "infra_blessing") == ["InfraValidator"]
    assert producers(ir, "Pusher", "model_blessing") == ["ServingGate"]
    parameters = node(ir, "InfraValidator").parameters.parameters
    serving = json.loads(parameters["serving_spec"].field_value.string_value)
    assert serving["tensorflow_serving"] == {"image_name": "registry/serving", "tags": ["2.19.1"]}
    assert "kubernetes" in serving
    request = json.loads(parameters["request_spec"].field_value.string_value)
    assert (request["num_examples"], request["split_name"]) == (3, "eval")


def test_docker_is_the_platform_unless_another_is_named(tmp_path: Path) -> None:
    _, ir = compiled(tmp_path, gates={"infra_validator": {}})
    parameters = node(ir, "InfraValidator").parameters.parameters
    serving = json.loads(parameters["serving_spec"].field_value.string_value)
    assert "local_docker" in serving
    assert "request_spec" not in parameters
    assert producers(ir, "InfraValidator", "model") == ["Trainer"]


def test_the_gate_is_measured_anew_only_for_what_it_reads(tmp_path: Path) -> None:
    def given(**gates: Any) -> str:
        _, ir = compiled(tmp_path, compress="auto", gates=gates)
        return str(node(ir, "ServingGate").parameters.parameters["gates"].field_value.string_value)

    assert given() == given(data={"fail_on": "warning"}) == given(infra_validator={})
    assert given() != given(objective="fastest")


def test_the_server_in_production_is_asked_only_where_there_is_an_address(tmp_path: Path) -> None:
    def custom(**serve: Any) -> Any:
        _, ir = compiled(tmp_path, serve=serve)
        value = node(ir, "Pusher").parameters.parameters["custom_config"].field_value.string_value
        return json.loads(value)

    assert custom() is None
    assert custom(address="host:8500", model_name="m") == {
        "assay_probe": {"address": "host:8500", "model_name": "m", "timeout_s": 60.0}
    }
