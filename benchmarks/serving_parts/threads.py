"""The server most people write: grpcio's thread pool around a SavedModel's TF2 signature.

    python benchmarks/serving_parts/threads.py PORT SAVED_MODEL

It answers PredictionService.Predict with the stock stubs of `tensorflow-serving-api`, as the
tutorials do.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict on the default signature of one model."""

    def __init__(self, path: str) -> None:
        self._model = tf.saved_model.load(path)
        self._signature = self._model.signatures["serving_default"]

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        inputs = {
            name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()
        }
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for name, tensor in self._signature(**inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
        return response


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=10))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(sys.argv[2]), server
    )
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
