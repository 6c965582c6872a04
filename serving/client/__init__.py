"""The clients of a model server: any that speaks TensorFlow Serving's protocol. No TensorFlow.

`Client` (gRPC), `AsyncClient` (gRPC, asyncio) and `RestClient` (HTTP) have the same methods.
"""

from serving.client.aio_client import AsyncClient
from serving.client.blocking import BlockingClient
from serving.client.connection import Tls
from serving.client.errors import RequestFailed
from serving.client.examples import encode_examples
from serving.client.grpc_client import Client
from serving.client.model_info import ModelInfo, load_kinds, load_model_info
from serving.client.model_types import ClassScore, Signature, TensorInfo, VersionStatus
from serving.client.rest_client import RestClient

__all__ = [
    "AsyncClient",
    "BlockingClient",
    "ClassScore",
    "Client",
    "ModelInfo",
    "RequestFailed",
    "RestClient",
    "Signature",
    "TensorInfo",
    "Tls",
    "VersionStatus",
    "encode_examples",
    "load_kinds",
    "load_model_info",
]
