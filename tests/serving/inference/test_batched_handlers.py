"""The handlers on a batched model: a future of the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.server.answers import Answer
from serving.server.batch_threads import BatchThreads
from serving.server.batching import BatchedModel
from serving.server.batching_parameters import BatchingParameters
from serving.server.calls import Call
from serving.server.classify import classify_handlers
from serving.server.core import ServerCore
from serving.server.predict import predict
from serving.server.saved_model import SavedModel
from serving.server.status import Code, RequestError

SERVICE = "/tensorflow.serving.PredictionService/"


class Unclosed:
    """A model that outlives its batching, for the session's other tests."""

    def __init__(self, model: Any) -> None:
        self.signatures, self.run = model.signatures, model.run

    def close(self) -> None: ...


@pytest.fixture
def batch() -> Iterator[Callable[[Any], BatchedModel]]:
    parameters = BatchingParameters(num_batch_threads=1)
    threads, models = BatchThreads(parameters), []

    def wrap(model: Any) -> BatchedModel:
        models.append(BatchedModel(Unclosed(model), parameters, threads))
        return models[-1]

    yield wrap
    for model in models:
        model.close()
    threads.close()


def predict_request(signature: str = "double") -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([1, 2], np.float32)))
    return request


def test_predict(
    numeric: SavedModel, batch: Callable[[Any], BatchedModel], one_model_core: Callable[..., Any]
) -> None:
    data, call = predict_request().SerializeToString(), Call()
    future = predict(one_model_core(batch(numeric)), data, call)
    assert isinstance(future, Answer)
    answer = future.result(30)
    assert answer == predict(one_model_core(numeric), data, Call())
    assert PredictResponse.FromString(answer).outputs["y"].float_val == [2, 4]
    assert call.model_name == "m"


def test_predict_past_its_deadline(
    numeric: SavedModel, batch: Callable[[Any], BatchedModel], one_model_core: Callable[..., Any]
) -> None:
    data, call = predict_request().SerializeToString(), Call(deadline_s=time.monotonic() - 1)
    future = predict(one_model_core(batch(numeric)), data, call)
    assert isinstance(future, Answer)
    with pytest.raises(RequestError) as caught:
        future.result(30)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


def test_classify_and_multi_inference(
    examples_core: Any,
    batch: Callable[[Any], BatchedModel],
    one_model_core: Callable[..., ServerCore],
) -> None:
    request = ClassificationRequest()
    request.model_spec.name = "m"
    request.input.example_list.examples.add()
    several = MultiInferenceRequest(input=request.input)
    for signature, method in (("both", "classify"), ("half", "regress")):
        task = several.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "m", signature
    plain = classify_handlers(examples_core)
    batched = classify_handlers(one_model_core(batch(examples_core.held)))
    for method, message in (("Classify", request), ("MultiInference", several)):
        data = message.SerializeToString()
        answer = batched[SERVICE + method](data, Call())
        done = answer.result(30) if isinstance(answer, Answer) else answer
        assert done == plain[SERVICE + method](data, Call())
