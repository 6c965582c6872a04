"""ServingGate as a TFX component."""

from __future__ import annotations

from typing import Any, ClassVar

import tfx.v1 as tfx
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.types.channel import Channel
from tfx.utils import json_utils

from tfx_pipeline.components.compressor.component import CompressionLadder
from tfx_pipeline.components.data_gate.component import GateVerdict
from tfx_pipeline.components.serving_gate.executor import Executor


class ServingGateSpec(component_spec.ComponentSpec):  # type: ignore[misc]
    """Inputs, outputs and parameters of ServingGate."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "gates": component_spec.ExecutionParameter(type=str),
        "custom_config": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "transformed_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "candidates": component_spec.ChannelParameter(type=CompressionLadder, optional=True),
        "champion": component_spec.ChannelParameter(
            type=standard_artifacts.PushedModel, optional=True
        ),
        "champion_blessing": component_spec.ChannelParameter(
            type=standard_artifacts.ModelBlessing, optional=True
        ),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "winner": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "verdict": component_spec.ChannelParameter(type=GateVerdict),
    }


class ServingGate(base_component.BaseComponent):  # type: ignore[misc]
    """Runs every candidate through the model server on held-out raw rows, and decides.

    Where a `tensorflow_model_server` is on the PATH it is that one, else Assay's own. A refusal is
    no failure: the node ends well, neither blessing is given, and `winner` is an empty folder.

    Outputs are what the stock Pusher takes: `winner` (Model, the very bytes that were measured,
    with warm-up requests made of real rows), `blessing` (ModelBlessing of the trained model: it is
    judged once more, as its best candidate) and `infra_blessing` (InfraBlessing); and `verdict`
    (GateVerdict): `verdict.json`, `pareto.png`, and the server's log.

    Args:
        examples: Raw examples; the split `eval` is replayed.
        transformed_examples: Transform's, for the skew proof; as are
        transform_graph: and
        model_run: the Trainer's, which holds `keras_model.h5`.
        model: The trained model, the only candidate where there is no ladder.
        gates: The dumped section `gates`.
        custom_config: `transform`, the dumped section; `functions` of the user's, whose modules
            register layers, with `folder` and `code`; `start_timeout_s` of the server; `server`,
            its name, for the cache key.
        candidates: The Compressor's ladder.
        champion: The model in production; may resolve to nothing.
        champion_blessing: What was said of it when it was pushed, for how its rows were split.
    """

    SPEC_CLASS = ServingGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: tfx.types.BaseChannel,
        transformed_examples: tfx.types.BaseChannel,
        transform_graph: tfx.types.BaseChannel,
        model: tfx.types.BaseChannel,
        model_run: tfx.types.BaseChannel,
        gates: str,
        custom_config: dict[str, Any],
        candidates: tfx.types.BaseChannel | None = None,
        champion: tfx.types.BaseChannel | None = None,
        champion_blessing: tfx.types.BaseChannel | None = None,
    ) -> None:
        spec = ServingGateSpec(
            examples=examples,
            transformed_examples=transformed_examples,
            transform_graph=transform_graph,
            model=model,
            model_run=model_run,
            candidates=candidates,
            champion=champion,
            champion_blessing=champion_blessing,
            gates=gates,
            custom_config=json_utils.dumps(custom_config),
            winner=Channel(type=standard_artifacts.Model),
            blessing=Channel(type=standard_artifacts.ModelBlessing),
            infra_blessing=Channel(type=standard_artifacts.InfraBlessing),
            verdict=Channel(type=GateVerdict),
        )
        super().__init__(spec=spec)
