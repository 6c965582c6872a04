"""DataGate: refuses data with anomalies, before anything is trained on them."""

from tfx_pipeline.components.data_gate.component import DataGate, GateVerdict

__all__ = ["DataGate", "GateVerdict"]
