"""Bytes of every kind for every handler: an answer, or an error that says the client is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.server.answers import Answer
from serving.server.calls import Call, Handler
from serving.server.classify import classify_handlers
from serving.server.core import ServerCore, single_model
from serving.server.handlers import build_handlers
from serving.server.loading import Loader
from serving.server.metrics import Metrics
from serving.server.options import ServerOptions
from serving.server.running import start
from serving.server.status import Code, RequestError
from serving.tensors import write_tensor

SERVICE = "/tensorflow.serving.PredictionService/"
PREDICT = f"{SERVICE}Predict"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
HEALTH, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
CLIENTS_FAULT = {
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.FAILED_PRECONDITION,
    Code.UNIMPLEMENTED,
    Code.OUT_OF_RANGE,
}
SIZES = [-(2**63), -1, 0, 1, 2, 3, 2**31, 2**40, 2**62, 2**63 - 1]
ALIASES = ["x", "y", "inputs", "word", "numbers", "", "é"]
SIGNATURES = ["dense", "scalars", "classify", "regress", "serving_default", ""]


class _Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def dense(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reduce_sum(x, 1)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.string, name="word"),
            tf.TensorSpec([None], tf.int64, name="numbers"),
        ]
    )
    def scalars(self, word: tf.Tensor, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"word": word, "total": tf.reduce_sum(numbers)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([2], tf.float32)})
        return {"scores": parsed["x"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([2], tf.float32)})
        return {"outputs": tf.reduce_sum(parsed["x"], 1)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base path of a model with signatures for every method."""
    folder = tmp_path_factory.mktemp("fuzzed")
    model = _Model()
    names = ("dense", "scalars", "classify", "regress")
    signatures = {name: getattr(model, name) for name in names}
    tf.saved_model.save(model, str(folder / "1"), signatures=signatures)
    return folder


@pytest.fixture(scope="module", params=["each", "batched"])
def handlers(request: pytest.FixtureRequest, base: Path) -> Iterator[dict[str, Handler]]:
    """The handlers of model `m`; one request a run, and several."""
    loader = Loader(ServerOptions(enable_batching=request.param == "batched"), Metrics())
    core = ServerCore(loader)
    core.configure(single_model("m", str(base)))
    yield {**build_handlers(core, health=True), **classify_handlers(core)}
    core.close()
    loader.close()


def _good_predict() -> PredictRequest:
    request = PredictRequest(model_spec={"name": "m", "signature_name": "dense"})
    write_tensor(request.inputs["x"], np.ones((2, 3), np.float32))
    return request


def _good_requests() -> dict[str, bytes]:
    """A request for each method, which it takes; but for the reload's: it would end the others."""
    spec = {"name": "m", "signature_name": "classify"}
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.extend([1.0, 2.0])
    classify = ClassificationRequest(model_spec=spec)
    classify.input.example_list.examples.append(example)
    regress = ClassificationRequest.FromString(classify.SerializeToString())
    regress.model_spec.signature_name = "regress"
    both = MultiInferenceRequest(input=classify.input)
    both.tasks.add(model_spec=spec, method_name="tensorflow/serving/classify")
    reload = ReloadConfigRequest()
    reload.config.model_config_list.config.add(
        name="m", base_path="no/absolute/path", model_platform="tensorflow"
    )
    messages: dict[str, Message] = {
        PREDICT: _good_predict(),
        f"{SERVICE}Classify": classify,
        f"{SERVICE}Regress": regress,
        f"{SERVICE}MultiInference": both,
        f"{SERVICE}GetModelMetadata": GetModelMetadataRequest(
            model_spec={"name": "m"}, metadata_field=["signature_def"]
        ),
        "/tensorflow.serving.ModelService/GetModelStatus": GetModelStatusRequest(
            model_spec={"name": "m"}
        ),
        RELOAD: reload,
    }
    wire = {method: message.SerializeToString() for method, message in messages.items()}
    return {**wire, HEALTH: b"\n\x24tensorflow.serving.PredictionService"}


GOOD = _good_requests()


def _answer(handler: Handler, data: bytes) -> bytes | RequestError:
    """What a handler makes of a request; any other exception is a failure of the test."""
    try:
        answer = handler(data, Call())
        return answer.result(30) if isinstance(answer, Answer) else answer
    except RequestError as caught:
        error = caught
    assert error.code in CLIENTS_FAULT, (error.code, error.message)
    assert error.message
    return error


def _still_answers(handlers: dict[str, Handler]) -> None:
    answer = _answer(handlers[PREDICT], GOOD[PREDICT])
    assert isinstance(answer, bytes)
    assert tf.make_ndarray(PredictResponse.FromString(answer).outputs["y"]).tolist() == [3, 3]


@st.composite
def _mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A request whose bytes were cut, changed, repeated or added to."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "flip", "insert", "repeat", "drop"])):
            case "cut":
                data = data[:at]
            case "flip":
                flipped = data[at : at + 1]
                mask = draw(st.integers(1, 255))
                data = data[:at] + bytes(byte ^ mask for byte in flipped) + data[at + 1 :]
            case "insert":
                data = data[:at] + draw(st.binary(max_size=8)) + data[at:]
            case "repeat":
                data = data[:at] + data[max(0, at - 8) : at] + data[at:]
            case _:
                data = data[:at] + data[at + draw(st.integers(1, 8)) :]
    return data


@st.composite
def _tensors(draw: st.DrawFn) -> TensorProto:
    """Tensors that nearly fit: any dtype, any shape, values of any field."""
    tensor = TensorProto(
        dtype=draw(st.sampled_from([1, 1, 1, 7, 9, *range(-1, 30), 101, 2**31 - 1]))
    )
    tensor.tensor_shape.unknown_rank = draw(st.integers(0, 9)) == 0
    for size in draw(st.one_of(st.just([2, 3]), st.lists(st.sampled_from(SIZES), max_size=4))):
        tensor.tensor_shape.dim.add().size = size
    if draw(st.integers(0, 20)) == 0:
        for _ in range(70):
            tensor.tensor_shape.dim.add().size = 1
    numbers = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=7)
    naturals = st.lists(st.integers(0, 2**32 - 1), max_size=7)
    tensor.float_val.extend(draw(st.lists(st.floats(width=32), max_size=7)))
    tensor.int_val.extend(draw(numbers))
    tensor.half_val.extend(draw(numbers))
    tensor.int64_val.extend(draw(numbers))
    tensor.uint32_val.extend(draw(naturals))
    tensor.scomplex_val.extend(draw(st.lists(st.floats(width=32), max_size=3)))
    tensor.string_val.extend(draw(st.lists(st.binary(max_size=4), max_size=3)))
    tensor.tensor_content = draw(st.one_of(st.just(b""), st.binary(max_size=24)))
    return tensor


@st.composite
def _predictions(draw: st.DrawFn) -> bytes:
    """Predict requests in the right form, whose content is wrong in some way or other."""
    request = PredictRequest()
    if draw(st.integers(0, 9)):
        request.model_spec.name = draw(st.sampled_from(["m", "m", "m", "n", ""]))
        request.model_spec.signature_name = draw(st.sampled_from(SIGNATURES))
        if draw(st.integers(0, 9)) == 0:
            request.model_spec.version.value = draw(st.sampled_from(SIZES))
        elif draw(st.integers(0, 9)) == 0:
            request.model_spec.version_label = "canary"
    for alias in draw(st.lists(st.sampled_from(ALIASES), max_size=3)):
        request.inputs[alias].CopyFrom(draw(_tensors()))
    request.output_filter.extend(draw(st.lists(st.sampled_from(["y", "word", "é"]), max_size=2)))
    return request.SerializeToString()


def test_the_seeds_are_good(handlers: dict[str, Handler]) -> None:
    for method, data in GOOD.items():
        if method not in (RELOAD, HEALTH):
            assert isinstance(_answer(handlers[method], data), bytes), method
    assert {*GOOD, WATCH} == set(handlers)  # Watch reads what Check reads


@pytest.mark.parametrize("method", [*GOOD])
def test_any_bytes(handlers: dict[str, Handler], method: str) -> None:
    handler = handlers[method]

    @settings(max_examples=40, deadline=None)
    @given(st.one_of(st.binary(max_size=64), _mutated(GOOD[method])))
    def fuzz(data: bytes) -> None:
        _answer(handler, data)

    if method != RELOAD:
        fuzz()
        _still_answers(handlers)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=64), _mutated(GOOD[RELOAD])))
def test_any_reload(data: bytes) -> None:
    """Of a server of its own, for a request may be right by chance."""
    core = ServerCore(_loads_nothing)
    handler = build_handlers(core, health=False)[RELOAD]
    code = None
    try:
        handler(data, Call())
    except RequestError as error:
        code = error.code
    assert code in {None, Code.UNKNOWN, *CLIENTS_FAULT}  # UNKNOWN: a model that did not load
    core.close()


def _loads_nothing(name: str, path: Path) -> Any:
    raise RequestError(Code.NOT_FOUND, "it loads nothing")


def test_tensors_that_nearly_fit(handlers: dict[str, Handler]) -> None:
    @settings(max_examples=300, deadline=None)
    @given(_predictions())
    def fuzz(data: bytes) -> None:
        _answer(handlers[PREDICT], data)

    fuzz()
    _still_answers(handlers)


@pytest.mark.parametrize("front", ["grpcio", "h2"])
def test_over_the_wire(base: Path, front: str) -> None:
    flags = ServerOptions(
        port=0,
        bind_address="127.0.0.1",
        grpc_front=front,
        model_name="m",
        model_base_path=str(base),
    )
    codes = {grpc.StatusCode[code.name] for code in CLIENTS_FAULT} | {grpc.StatusCode.OK}
    with start(flags) as running, grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        call = channel.unary_unary(PREDICT)

        @settings(max_examples=60, deadline=None)
        @given(st.one_of(st.binary(max_size=64), _mutated(GOOD[PREDICT]), _predictions()))
        def fuzz(data: bytes) -> None:
            _, ended = _with_call(call, data)
            assert ended in codes

        fuzz()
        answer, ended = _with_call(call, GOOD[PREDICT])
        assert ended is grpc.StatusCode.OK
        assert tf.make_ndarray(PredictResponse.FromString(answer).outputs["y"]).tolist() == [3, 3]
        assert running.core.in_flight() == 0


def _with_call(call: Any, data: bytes) -> tuple[bytes, grpc.StatusCode]:
    try:
        answer, rpc = call.with_call(data, timeout=30)
    except grpc.RpcError as error:
        return b"", error.code()
    return answer, rpc.code()
