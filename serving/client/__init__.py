"""The clients of a model server: any that speaks TensorFlow Serving's protocol. No TensorFlow."""

from serving.client.examples import encode_examples
from serving.client.grpc_client import Client, RequestFailed, TensorInfo, VersionStatus
from serving.client.model_info import ModelInfo, load_kinds, load_model_info

__all__ = [
    "Client",
    "ModelInfo",
    "RequestFailed",
    "TensorInfo",
    "VersionStatus",
    "encode_examples",
    "load_kinds",
    "load_model_info",
]
