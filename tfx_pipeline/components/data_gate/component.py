"""DataGate as a TFX component, and the artifact type of its verdict."""

from __future__ import annotations

from typing import Any, ClassVar

import tfx.v1 as tfx
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact, component_spec, standard_artifacts
from tfx.types.channel import Channel

from tfx_pipeline.components.data_gate.executor import BLESSED_PROPERTY, Executor
from tfx_pipeline.gates.anomalies import FailOn


class GateVerdict(tfx.dsl.Artifact):  # type: ignore[misc]
    """A gate's decision: `verdict.json`, and `blessed` (1 or 0) for conditions in the graph."""

    TYPE_NAME = "GateVerdict"
    PROPERTIES: ClassVar[dict[str, Any]] = {
        BLESSED_PROPERTY: artifact.Property(type=artifact.PropertyType.INT)
    }


class DataGateSpec(component_spec.ComponentSpec):  # type: ignore[misc]
    """Inputs, outputs and parameters of DataGate."""

    PARAMETERS: ClassVar[dict[str, Any]] = {"fail_on": component_spec.ExecutionParameter(type=str)}
    INPUTS: ClassVar[dict[str, Any]] = {
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "drift_anomalies": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleAnomalies, optional=True
        ),
        "skew_anomalies": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleAnomalies, optional=True
        ),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "verdict": component_spec.ChannelParameter(type=GateVerdict)
    }


class DataGate(base_component.BaseComponent):  # type: ignore[misc]
    """Reads the anomalies of ExampleValidator and DistributionValidator, and decides.

    A refusal is no failure: the node ends well and its verdict has `blessed` 0. What must not run
    then stands inside a condition, which plain TFX evaluates::

        with tfx.dsl.Cond(may_go_on(gate)):
            ...

    Args:
        anomalies: ExampleValidator's.
        statistics: StatisticsGen's.
        schema: The schema that the data were validated against.
        fail_on: `error`, `warning` or `never`.
        drift_anomalies: DistributionValidator's against an earlier run.
        skew_anomalies: DistributionValidator's between splits.
    """

    SPEC_CLASS = DataGateSpec
    needs_tensorflow = False  # For `assay run-node`: three small files are read.
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        anomalies: tfx.types.BaseChannel,
        statistics: tfx.types.BaseChannel,
        schema: tfx.types.BaseChannel,
        fail_on: FailOn = "error",
        drift_anomalies: tfx.types.BaseChannel | None = None,
        skew_anomalies: tfx.types.BaseChannel | None = None,
    ) -> None:
        spec = DataGateSpec(
            anomalies=anomalies,
            statistics=statistics,
            schema=schema,
            fail_on=fail_on,
            drift_anomalies=drift_anomalies,
            skew_anomalies=skew_anomalies,
            verdict=Channel(type=GateVerdict),
        )
        super().__init__(spec=spec)


def may_go_on(gate: DataGate) -> tfx.dsl.placeholders.Predicate:
    """The condition under which the nodes behind a gate run."""
    return gate.outputs["verdict"].future()[0].property(BLESSED_PROPERTY) == 1
