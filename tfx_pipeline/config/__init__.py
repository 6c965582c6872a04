"""The config: one YAML file into one pydantic model."""

from tfx_pipeline.config.load import load_config, parse_config
from tfx_pipeline.config.pipeline import PipelineConfig

__all__ = ["PipelineConfig", "load_config", "parse_config"]
