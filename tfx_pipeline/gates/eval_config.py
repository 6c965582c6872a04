"""The quality gate's config as a `tfma.EvalConfig`, which TFMA runs and its tools can read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tfx_pipeline.config.gates import MetricThreshold
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.metrics import METRICS
from transform.config import LABEL

if TYPE_CHECKING:
    from tensorflow_model_analysis.proto import config_pb2


def eval_config(config: PipelineConfig) -> config_pb2.EvalConfig:
    """How TFMA measures a model of this pipeline, and the thresholds it holds it to.

    The model is measured as it is served: signature `serving_default` on raw rows. The label comes
    from the model's own signature `transform_features`. With a baseline model, the executor adds
    its model spec; without one, TFMA drops the change thresholds.

    Args:
        config: The whole pipeline's config.

    Returns:
        Overall and per-slice specs, one metrics spec with every metric of the task, and the
        thresholds as per-slice thresholds (TFMA would apply its plain ones to every slice).
    """
    from tensorflow_model_analysis.proto import config_pb2

    quality, label = config.gates.quality.of_float, config.data.label
    levels = {"levels": label.quantiles} if label.task == "quantile" else {}
    overall = config_pb2.SlicingSpec()
    slices = [config_pb2.SlicingSpec(feature_keys=names) for names in quality.slices]
    metrics = config_pb2.MetricsSpec(
        metrics=[
            config_pb2.MetricConfig(
                class_name="TaskMetrics",
                module="tfx_pipeline.gates.tfma_metrics",
                config=json.dumps({"task": label.task, **levels}),
            )
        ]
    )
    for threshold in quality.thresholds:
        metrics.per_slice_thresholds[threshold.metric].thresholds.append(
            config_pb2.PerSliceMetricThreshold(
                slicing_specs=[overall, *slices] if threshold.slices else [overall],
                threshold=_threshold(threshold),
            )
        )
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serving_default",
                preprocessing_function_names=["transform_features"],
                label_key=LABEL,
                prediction_key="predictions",
            )
        ],
        slicing_specs=[overall, *slices],
        metrics_specs=[metrics],
        options=config_pb2.Options(include_default_metrics={"value": False}),
    )


def _threshold(threshold: MetricThreshold) -> config_pb2.MetricThreshold:
    from tensorflow_model_analysis.proto import config_pb2

    result = config_pb2.MetricThreshold()
    if threshold.min is not None:
        result.value_threshold.lower_bound.value = threshold.min
    if threshold.max is not None:
        result.value_threshold.upper_bound.value = threshold.max
    direction = METRICS[threshold.metric].better
    # TFMA knows no "nearer to 1 is better": for calibration the verdict alone compares.
    if threshold.max_regression is not None and direction != "one":
        change = result.change_threshold
        if direction == "higher":
            change.direction = config_pb2.MetricDirection.HIGHER_IS_BETTER
            change.absolute.value = -threshold.max_regression
        else:
            change.direction = config_pb2.MetricDirection.LOWER_IS_BETTER
            change.absolute.value = threshold.max_regression
    return result
