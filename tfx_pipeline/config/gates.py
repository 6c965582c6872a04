"""The `gates` section: what stops a run, and what keeps a model from being pushed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tfx_pipeline.config.serving_gate import (
    Budget,
    InfraValidatorConfig,
    MeasureConfig,
    Objective,
    ServingSkew,
    SizeBudget,
    SliceBudget,
)
from tfx_pipeline.gates.metrics import METRICS
from transform.config import Section


class DriftLimit(Section):
    """Largest distance between two distributions of one column."""

    linf: float | None = Field(
        None, gt=0, le=1, description="Categorical: largest change of one value's share."
    )
    jensen_shannon: float | None = Field(
        None, gt=0, le=1, description="Numeric: Jensen-Shannon divergence."
    )

    @model_validator(mode="after")
    def _one_measure(self) -> DriftLimit:
        if (self.linf is None) == (self.jensen_shannon is None):
            raise ValueError("give one of `linf` (categorical) and `jensen_shannon` (numeric)")
        return self


class DataGateConfig(Section):
    """Anomalies that stop the run before anything is trained."""

    fail_on: Literal["error", "warning", "never"] = Field(
        "error", description="Stop at anomalies of this severity or above."
    )
    schema_path: str | None = Field(
        None, description="Your own schema.pbtxt; empty: inferred from every split."
    )
    drift: dict[str, DriftLimit] = Field(
        {},
        description="Per column: largest distance of the training split to that of the last data "
        "that this gate accepted.",
    )
    skew: dict[str, DriftLimit] = Field(
        {}, description="Per column: largest distance between the training and eval splits."
    )


class MetricThreshold(Section):
    """Bounds on one metric over the eval split, overall and on every slice that `slices` names."""

    metric: Literal[tuple(METRICS)] = Field(description="Metric.")  # type: ignore[valid-type]
    min: float | None = Field(None, description="Refuse below this.")
    max: float | None = Field(None, description="Refuse above this.")
    max_regression: float | None = Field(
        None, ge=0, description="Refuse when worse than the last blessed model by more than this."
    )
    max_drop: float | None = Field(
        None,
        ge=0,
        description="Serving gate: refuse a compressed candidate that is worse than its float "
        "model by more than this.",
    )
    slices: bool = Field(False, description="Hold on every slice too, not only overall.")

    @property
    def bounds_float(self) -> bool:
        """Whether it says anything of the float model by itself."""
        return not (self.min is None and self.max is None and self.max_regression is None)

    @model_validator(mode="after")
    def _something_is_bounded(self) -> MetricThreshold:
        if not self.bounds_float and self.max_drop is None:
            raise ValueError("a threshold needs `min`, `max`, `max_regression` or `max_drop`")
        return self


class QualityGateConfig(Section):
    """The metrics a model must reach on the eval split to be blessed. No threshold: refused."""

    thresholds: list[MetricThreshold] = Field(
        [], description="All must hold. An empty list refuses every model: gates fail closed."
    )
    slices: list[list[str]] = Field(
        [], description="Columns (or combinations) whose every value is measured by itself."
    )
    min_slice_examples: int = Field(
        1, ge=1, description="A slice with fewer rows is reported but does not refuse."
    )

    @property
    def of_float(self) -> QualityGateConfig:
        """What the Evaluator reads. `max_drop` is the serving gate's: a change of it must not cost
        a new evaluation."""
        kept = [t.model_copy(update={"max_drop": None}) for t in self.thresholds if t.bounds_float]
        return self.model_copy(update={"thresholds": kept})


class GatesConfig(Section):
    """What stops a run, and what keeps a model from being pushed."""

    data: DataGateConfig = Field(DataGateConfig(), description="Before training.")
    quality: QualityGateConfig = Field(QualityGateConfig(), description="Before the push.")
    latency_p99_ms: Budget | None = Field(
        None,
        description="Serving gate: 99th percentile of one-row requests, in milliseconds. Ratios "
        "are measured in turn in one run, so that they hold on a noisy machine.",
    )
    size_bytes: SizeBudget | None = Field(None, description="Serving gate: bytes of a candidate.")
    memory_mb: Budget | None = Field(
        None, description="Serving gate: resident memory that the server needs for it, in MB."
    )
    slices: SliceBudget | None = Field(None, description="Serving gate: no slice is sacrificed.")
    skew: ServingSkew | None = Field(
        None, description="Serving gate: served answers against the trainer's; always looked at."
    )
    objective: Objective | None = Field(
        None,
        description="Serving gate: which of those that pass is pushed; empty: `smallest`. Ties go "
        "to the next: bytes, then latency, then quality.",
    )
    measure: MeasureConfig = Field(
        MeasureConfig(), description="Serving gate: rows to ask for, and time limits."
    )
    infra_validator: InfraValidatorConfig | None = Field(
        None, description="TFX's InfraValidator before the push, for Docker and Kubernetes."
    )

    @property
    def of_serving(self) -> GatesConfig:
        """What the serving gate reads: a change of the rest must not cost a new measurement."""
        return self.model_copy(update={"data": DataGateConfig(), "infra_validator": None})

    @property
    def judge_serving(self) -> bool:
        """Whether anything here asks for the serving gate."""
        asked = (self.latency_p99_ms, self.size_bytes, self.memory_mb, self.slices, self.skew)
        return any(section is not None for section in (*asked, self.objective))
