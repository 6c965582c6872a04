"""TFX's Evaluator, as a component whose executor writes a verdict and fails closed."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import tfx.v1 as tfx
from tfx.components.evaluator import component as stock
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs
from tfx.types.channel import Channel

from tfx_pipeline.components.evaluator.executor import (
    BASELINE_BLESSING_KEY,
    GATE_KEY,
    Executor,
)
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.eval_config import eval_config


class EvaluatorSpec(standard_component_specs.EvaluatorSpec):  # type: ignore[misc]
    """The stock spec, the gate's own config, of which TFMA's cannot say everything, and the
    baseline's blessing, which tells how its rows were split."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        GATE_KEY: component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        **standard_component_specs.EvaluatorSpec.INPUTS,
        BASELINE_BLESSING_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.ModelBlessing, optional=True
        ),
    }


class Evaluator(stock.Evaluator):  # type: ignore[misc]
    """Measures a model as it is served, and blesses it when every threshold holds.

    Inputs and outputs are the stock component's, with the stock artifacts: `evaluation`
    (ModelEvaluation, TFMA's files) and `blessing` (ModelBlessing, which also holds verdict.json).

    Args:
        config: The pipeline's config; `gates.quality` and the label are read.
        examples: Raw examples (`standard_artifacts.Examples`); the split `eval` is measured.
        model: The candidate (`standard_artifacts.Model`).
        schema: Schema of the raw examples.
        baseline_model: The last blessed model; may resolve to nothing.
        baseline_blessing: Its blessing. Without one, how its rows were split is not known.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        config: PipelineConfig,
        examples: tfx.types.BaseChannel,
        model: tfx.types.BaseChannel,
        schema: tfx.types.BaseChannel,
        baseline_model: tfx.types.BaseChannel | None = None,
        baseline_blessing: tfx.types.BaseChannel | None = None,
    ) -> None:
        spec = EvaluatorSpec(
            examples=examples,
            model=model,
            schema=schema,
            baseline_model=baseline_model,
            example_splits=json.dumps(["eval"]),
            eval_config=eval_config(config),
            evaluation=Channel(type=standard_artifacts.ModelEvaluation),
            blessing=Channel(type=standard_artifacts.ModelBlessing),
            **{
                GATE_KEY: config.gates.quality.of_float.model_dump_json(),
                BASELINE_BLESSING_KEY: baseline_blessing,
            },
        )
        # The stock initialiser builds the stock spec, which has no place for the gate's config.
        base_beam_component.BaseBeamComponent.__init__(self, spec=spec)
