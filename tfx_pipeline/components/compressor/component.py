"""Compressor as a TFX component, and the artifact type of its ladder."""

from __future__ import annotations

from typing import Any, ClassVar

import tfx.v1 as tfx
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.types.channel import Channel
from tfx.utils import json_utils

from tfx_pipeline.components.compressor.executor import Executor


class CompressionLadder(tfx.dsl.Artifact):  # type: ignore[misc]
    """The float model and its compressed relatives, each as a server loads it.

    File structure:
        - `candidates.json`: a row for each candidate, the failed ones with the reason
          (`trainer.compression.candidate`).
        - `<name>/`: SavedModel, with the core for LiteRT in `assets.extra` where there is one.
    """

    TYPE_NAME = "CompressionLadder"


class CompressorSpec(component_spec.ComponentSpec):  # type: ignore[misc]
    """Inputs, outputs and parameters of Compressor."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "custom_config": component_spec.ExecutionParameter(type=str)
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "hyperparameters": component_spec.ChannelParameter(
            type=standard_artifacts.HyperParameters, optional=True
        ),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "candidates": component_spec.ChannelParameter(type=CompressionLadder)
    }


class Compressor(base_component.BaseComponent):  # type: ignore[misc]
    """Prunes, clusters, quantizes and distills a trained model; each candidate is fine-tuned by
    itself from the float model, under the same strategy and on the same rows.

    A candidate that cannot be made is a row of the ladder with its reason, and no failure.

    Args:
        examples: Transformed examples, with the split `train` and perhaps `val`.
        transform_graph: Transform's.
        model_run: The Trainer's, which holds `keras_model.h5`.
        custom_config: The dumped sections `transform`, `model`, `train` and `compress`; `folder`,
            where `file.py:function` starts from; and `code`, fingerprints of the user's functions.
        hyperparameters: The Tuner's, which the model was trained with; None: there is no Tuner.
    """

    SPEC_CLASS = CompressorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: tfx.types.BaseChannel,
        transform_graph: tfx.types.BaseChannel,
        model_run: tfx.types.BaseChannel,
        custom_config: dict[str, Any],
        hyperparameters: tfx.types.BaseChannel | None = None,
    ) -> None:
        spec = CompressorSpec(
            examples=examples,
            transform_graph=transform_graph,
            model_run=model_run,
            hyperparameters=hyperparameters,
            custom_config=json_utils.dumps(custom_config),
            candidates=Channel(type=CompressionLadder),
        )
        super().__init__(spec=spec)
