"""Whatever bytes come, the handlers answer or refuse them; nothing else is raised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest

from serving.server.answers import Answer
from serving.server.calls import Call
from serving.server.classify import classify_handlers
from serving.server.status import RequestError

SERVICE = "/tensorflow.serving.PredictionService/"


def valid(method: str, signature: str, x: bytes | float) -> bytes:
    request = ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    feature = request.input.example_list.examples.add().features.feature["x"]
    if isinstance(x, bytes):
        feature.bytes_list.value.append(x)
    else:
        feature.float_list.value.append(x)
    if method != "MultiInference":
        return bytes(request.SerializeToString())
    several = MultiInferenceRequest(input=request.input)
    for name in ("classify", "regress"):
        task = several.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.CopyFrom(request.model_spec)
    return bytes(several.SerializeToString())


@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
@settings(max_examples=80, deadline=None)
@given(
    signature=st.sampled_from(["both", "half", "absent", "on_x", ""]),
    x=st.one_of(st.floats(width=32), st.binary(max_size=4)),
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 200),
)
def test_any_bytes(
    examples_core: Any,
    method: str,
    signature: str,
    x: bytes | float,
    edits: list[tuple[int, int]],
    end: int,
) -> None:
    data = bytearray(valid(method, signature, x))
    for at, value in edits:
        data[at % len(data)] = value
    handler = classify_handlers(examples_core)[SERVICE + method]
    try:
        answer = handler(bytes(data[: end or None]), Call())
    except RequestError:
        return
    assert not isinstance(answer, Answer)
