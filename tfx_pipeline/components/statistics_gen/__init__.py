"""StatisticsGen: TFX's own, which reads no shard of examples twice."""

from tfx_pipeline.components.statistics_gen.component import StatisticsGen

__all__ = ["StatisticsGen"]
