"""The gates in a real pipeline: conditions, resolvers, caching, and what a refusal leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.config.gates import DriftLimit
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.verdict import read_verdict

pytestmark = pytest.mark.slow

BEAM_ARGS = ["--runner=FnApiRunner", "--sdk_container_image=local"]


def _pipeline(root: Path, config: PipelineConfig, examples: Path, schema: Path, model: Path) -> Any:
    """Importers stand for the nodes before; everything from StatisticsGen on is real."""
    import tfx.v1 as tfx
    from tfx.components import DistributionValidator
    from tfx.types import standard_artifacts as kinds

    from tfx_pipeline.components.data_gate.component import DataGate, may_go_on
    from tfx_pipeline.components.evaluator import Evaluator
    from tfx_pipeline.components.pusher import Pusher
    from tfx_pipeline.components.resolvers import LatestBlessedBefore, PreviousStatistics
    from tfx_pipeline.gates.drift import distribution_config

    examples_in = tfx.dsl.Importer(
        source_uri=str(examples),
        artifact_type=kinds.Examples,
        properties={"split_names": json.dumps(["train", "eval"])},
    ).with_id("Examples")
    schema_in = tfx.dsl.Importer(source_uri=str(schema), artifact_type=kinds.Schema).with_id(
        "Schema"
    )
    statistics = tfx.components.StatisticsGen(examples=examples_in.outputs["result"])
    previous = tfx.dsl.Resolver(
        strategy_class=PreviousStatistics,
        statistics=tfx.dsl.Channel(type=kinds.ExampleStatistics),
        current=statistics.outputs["statistics"],
    ).with_id("PreviousStatistics")
    drift = DistributionValidator(
        statistics=statistics.outputs["statistics"],
        baseline_statistics=previous.outputs["statistics"].as_optional(),
        config=distribution_config({"x": DriftLimit(jensen_shannon=0.2)}),
        include_split_pairs=[("train", "train")],
    ).with_id("Drift")
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema_in.outputs["result"]
    )
    gate = DataGate(
        anomalies=validator.outputs["anomalies"],
        statistics=statistics.outputs["statistics"],
        schema=schema_in.outputs["result"],
        drift_anomalies=drift.outputs["anomalies"],
    )
    with tfx.dsl.Cond(may_go_on(gate)):
        trainer = tfx.dsl.Importer(source_uri=str(model), artifact_type=kinds.Model).with_id(
            "Model"
        )
        blessed = tfx.dsl.Resolver(
            strategy_class=LatestBlessedBefore,
            model=tfx.dsl.Channel(type=kinds.Model),
            model_blessing=tfx.dsl.Channel(type=kinds.ModelBlessing),
            candidate=trainer.outputs["result"],
        ).with_id("LastBlessedModel")
        evaluator = Evaluator(
            config,
            examples=examples_in.outputs["result"],
            model=trainer.outputs["result"],
            schema=schema_in.outputs["result"],
            baseline_model=blessed.outputs["model"],
            baseline_blessing=blessed.outputs["model_blessing"],
        )
        pusher = Pusher(
            model=trainer.outputs["result"],
            model_blessing=evaluator.outputs["blessing"],
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(
                    base_directory=str(root / "serving")
                )
            ),
        )
    before = [examples_in, schema_in, statistics, previous, drift, validator, gate]
    return tfx.dsl.Pipeline(
        pipeline_name="small",
        pipeline_root=str(root / "artifacts"),
        components=[*before, trainer, blessed, evaluator, pusher],
        enable_cache=True,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.db")
        ),
        beam_pipeline_args=BEAM_ARGS,
    )


def _states(root: Path) -> dict[str, str]:
    """Node to `new` or `cached`, of the latest run."""
    import tfx.v1 as tfx
    from ml_metadata.proto import metadata_store_pb2
    from tfx.orchestration import metadata

    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(root / "metadata.db")
    )
    with metadata.Metadata(connection) as handle:
        run = max(handle.store.get_contexts_by_type("pipeline_run"), key=lambda c: c.id)
        names = {
            metadata_store_pb2.Execution.COMPLETE: "new",
            metadata_store_pb2.Execution.CACHED: "cached",
        }
        types = {t.id: t.name.rsplit(".", 1)[-1] for t in handle.store.get_execution_types()}
        states = [
            (types[execution.type_id], names[execution.last_known_state])
            for execution in handle.store.get_executions_by_context(run.id)
        ]
        # A resolver that fails lets the runner go on without what it would have found.
        return {node: state for node, state in states if node not in ("Importer", "Resolver")}


def _last(root: Path, node: str, output: str) -> Path:
    return max((root / "artifacts" / node / output).iterdir(), key=lambda path: int(path.name))


@pytest.mark.filterwarnings("ignore")
def test_runs_one_after_the_other(
    small: Any, config: Callable[..., PipelineConfig], tmp_path: Path
) -> None:
    from tfx.v1.orchestration import LocalDagRunner

    thresholds = [{"metric": "auc", "min": 0.5, "max_regression": 0.05}]
    gated = config(thresholds=thresholds)

    def run(model: str, schema: Path = small.schema) -> dict[str, str]:
        folder = small.model("binary", model)
        LocalDagRunner().run(_pipeline(tmp_path, gated, small.examples, schema, folder))
        return _states(tmp_path)

    # The first run: no baseline anywhere, and the model goes out.
    assert set(run("good").values()) == {"new"}
    verdict = read_verdict(str(_last(tmp_path, "Evaluator", "blessing")))
    assert verdict is not None
    assert verdict.blessed
    assert verdict.baseline == ""
    assert len(list((tmp_path / "serving").iterdir())) == 1

    # The second, unchanged: the resolvers find what they found, and everything is cached.
    second = run("good")
    assert set(second.values()) == {"cached"}
    assert {"DistributionValidator", "DataGate", "Evaluator", "Pusher"} <= set(second)

    # A new model is compared with the blessed one, refused, and not pushed.
    third = run("bad")
    assert third["DataGate"] == "cached"
    assert third["Evaluator"] == "new"
    verdict = read_verdict(str(_last(tmp_path, "Evaluator", "blessing")))
    assert verdict is not None
    assert not verdict.blessed
    assert verdict.baseline == str(small.model("binary", "good"))
    assert len(list((tmp_path / "serving").iterdir())) == 1

    # A refused model is no baseline, and a refused run is cached too.
    assert set(run("bad").values()) == {"cached"}

    # A schema that the data break: the run ends well, and nothing behind the gate has run.
    narrow = tmp_path / "narrow"
    narrow.mkdir()
    text = (small.schema / "schema.pbtxt").read_text().replace('value: "tiny"', "")
    (narrow / "schema.pbtxt").write_text(text)
    last = run("good", narrow)
    assert last["DataGate"] == "new"
    assert not {"Evaluator", "Pusher"} & set(last)
    verdict = read_verdict(str(_last(tmp_path, "DataGate", "verdict")))
    assert verdict is not None
    assert [check.what for check in verdict.failed] == ["group", "group"]
