"""A model server of someone else's, built with TensorFlow Serving's own stubs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)


class StockServer(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """A server of someone else's: stock stubs, stock conversion. Model `double` answers y = 2x for
    the dtype that `dtype` says; requests are kept in `seen`."""

    def __init__(self) -> None:
        self.dtype = tf.float32
        self.seen: list[Any] = []
        self.metadata_sent: list[dict[str, str]] = []
        self.fail_with: list[grpc.StatusCode] = []
        self.tells_metadata = True

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    def _note(self, request: Any, context: grpc.ServicerContext) -> None:
        self.seen.append(request)
        self.metadata_sent.append(dict(context.invocation_metadata()))
        if request.model_spec.name != "double":
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(x)")
        if self.fail_with:
            context.abort(self.fail_with.pop(0), "told to fail")

    def Predict(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        x = tf.make_ndarray(request.inputs["x"])
        if request.inputs["x"].dtype != self.dtype.as_datatype_enum:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Expects x to be {self.dtype.name}")
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        response.outputs["y"].CopyFrom(tf.make_tensor_proto(2 * x))
        response.outputs["constant"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0]]))
        response.outputs["rows"].CopyFrom(tf.make_tensor_proto(np.int64(len(x))))
        if request.model_spec.signature_name == "calm":
            del response.outputs["rows"]
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        if not self.tells_metadata:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name in ("serving_default", "calm"):
            signature = signatures.signature_def[name]
            for tensors, key in ((signature.inputs, "x"), (signature.outputs, "y")):
                tensors[key].dtype = self.dtype.as_datatype_enum
                tensors[key].tensor_shape.dim.add().size = -1
            signature.inputs["scale"].dtype = tf.float32.as_datatype_enum
            signature.defaults["scale"].CopyFrom(tf.make_tensor_proto(2.0))
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def Classify(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        response = classification_pb2.ClassificationResponse()
        for example in request.input.example_list.examples:
            x = example.features.feature["x"].float_list.value[0]
            row = response.result.classifications.add()
            row.classes.add(label="small", score=1 - x)
            row.classes.add(label="large", score=x)
        return response

    def Regress(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        response = regression_pb2.RegressionResponse()
        for example in request.input.example_list.examples:
            x = example.features.feature["x"].float_list.value[0]
            response.result.regressions.add(value=2 * x)
        return response

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=3, state=30)
        failed = response.model_version_status.add(version=4, state=50)
        failed.status.error_code = 5
        failed.status.error_message = "no saved_model.pb"
        return response


def serve(servicer: StockServer) -> tuple[grpc.Server, int]:
    """Starts it; the server and its port on 127.0.0.1."""
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port
