"""Limits on drift and skew as the config of TFX's stock DistributionValidator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfx_pipeline.config.gates import DriftLimit

if TYPE_CHECKING:
    from tfx.proto import distribution_validator_pb2


def distribution_config(
    limits: dict[str, DriftLimit],
) -> distribution_validator_pb2.DistributionValidatorConfig:
    """The largest allowed distance of each column's distribution from the baseline's.

    Args:
        limits: Column to limit: L-infinity of the shares of values (categorical), or
            Jensen-Shannon divergence (numeric).

    Returns:
        What `tfx.components.DistributionValidator(config=...)` takes (`tfx.v1` lacks the class).
        For drift, its baseline is an earlier run's statistics, with
        `include_split_pairs=[("train", "train")]`; for skew, the same run's, with
        `include_split_pairs=[("eval", "train")]`.
    """
    from tfx.proto import distribution_validator_pb2

    config = distribution_validator_pb2.DistributionValidatorConfig()
    for column, limit in sorted(limits.items()):
        feature = config.default_slice_config.feature.add()
        feature.path.step.append(column)
        comparator = feature.distribution_comparator
        if limit.linf is not None:
            comparator.infinity_norm.threshold = limit.linf
        if limit.jensen_shannon is not None:
            comparator.jensen_shannon_divergence.threshold = limit.jensen_shannon
    return config
