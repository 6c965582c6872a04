"""Names that TFMA lacks with the protobuf of the lock. `tfx.components` gives it them when it is
imported; `on_demand` puts that off, and imports this instead."""

from __future__ import annotations

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

for _name in (
    "EvalConfig",
    "GenericChangeThreshold",
    "GenericValueThreshold",
    "MetricConfig",
    "MetricDirection",
    "MetricThreshold",
    "MetricsSpec",
    "ModelSpec",
    "SlicingSpec",
):
    for _package in (tfma, tfma.sdk):
        if hasattr(config_pb2, _name) and not hasattr(_package, _name):
            setattr(_package, _name, getattr(config_pb2, _name))
