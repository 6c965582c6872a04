"""Compressor: a ladder of compressed candidates of a trained model, by TF-MOT and TFLite."""

from tfx_pipeline.components.compressor.component import CompressionLadder, Compressor

__all__ = ["CompressionLadder", "Compressor"]
