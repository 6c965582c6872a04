"""ServingGate: measures every candidate as it will be served, and blesses the one that ships."""

from tfx_pipeline.components.serving_gate.component import ServingGate

__all__ = ["ServingGate"]
