"""The serving gate's part of the `gates` section: budgets of what ships, and what is wanted."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from tfx_pipeline.gates.metrics import METRICS
from transform.config import Section

Objective: TypeAlias = Literal["smallest", "fastest", "most_accurate"]


class Budget(Section):
    """Upper limits on one figure of a candidate; each one that is given must hold."""

    max: float | None = Field(None, gt=0, description="At most this, in the field's unit.")
    max_ratio: float | None = Field(
        None, gt=0, description="At most this share of the float model's figure."
    )
    max_ratio_champion: float | None = Field(
        None, gt=0, description="At most this share of the figure of the model in production."
    )

    @model_validator(mode="after")
    def _something_is_bounded(self) -> Budget:
        if self.max is None and self.max_ratio is None and self.max_ratio_champion is None:
            raise ValueError("a budget needs `max`, `max_ratio` or `max_ratio_champion`")
        return self


class SizeBudget(Budget):
    """Upper limits on the bytes of a candidate."""

    of: Literal["served", "disk", "gzip"] = Field(
        "served",
        description="What is counted: `served`: what the server reads (the TFLite core where it "
        "runs one, else the variables); `disk`: every file; `gzip`: every file, gzipped.",
    )


class SliceBudget(Section):
    """How much worse a candidate may be than the float model on any slice of
    `gates.quality.slices`."""

    max_drop: float = Field(ge=0, description="Largest loss on any slice, in the metric's unit.")
    metric: Literal[tuple(METRICS)] | None = Field(  # type: ignore[valid-type]
        None, description="Metric; empty: that of the first quality threshold."
    )
    min_rows: int = Field(
        30, ge=1, description="A slice with fewer rows is reported but does not refuse."
    )


class ServingSkew(Section):
    """How far the served answers may be from the trainer's, on the same rows."""

    tolerance: float = Field(
        1e-4,
        ge=0,
        le=0.01,
        allow_inf_nan=False,
        description="Largest difference of a prediction between any two ways: absolute for a "
        "probability; of a regression relative to the value, or to the standard deviation of the "
        "float model's answers where that is more, where it is over 1.",
    )


class MeasureConfig(Section):
    """How much the serving gate asks the server, and how long it waits for it."""

    max_rows: int = Field(
        20_000,
        ge=1,
        description="Eval rows that every candidate is asked for; of more, always the same "
        "random ones.",
    )
    request_timeout_seconds: float = Field(
        20,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="How long the server may take to answer one request, of at most 512 rows. A "
        "candidate that takes longer is refused.",
    )
    load_timeout_seconds: float = Field(
        60,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="How long it may take to load one candidate. One that takes longer is refused.",
    )


class InfraValidatorConfig(Section):
    """TFX's InfraValidator, on what is to be pushed: it loads it in a container of TensorFlow
    Serving."""

    platform: Literal["local_docker", "kubernetes"] = Field(
        "local_docker", description="Where the container runs."
    )
    image: str = Field("tensorflow/serving", description="Container image.")
    tags: list[str] = Field(["latest"], min_length=1, description="Each of these is tried.")
    service_account: str = Field("", description="Kubernetes: the pod's service account.")
    max_loading_seconds: int = Field(300, ge=1, description="Bound on the loading of the model.")
    tries: int = Field(5, ge=1, description="Attempts before the model is refused.")
    rows: int = Field(
        0, ge=0, description="Eval rows to send to it; 0: it only has to load the model."
    )
