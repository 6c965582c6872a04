"""Classify, Regress and MultiInference: bytes in, bytes out, on models of TF1 and TF2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from serving.server import saved_model
from serving.server.calls import Call
from serving.server.classify import classify_handlers
from serving.server.core import ServerCore
from serving.server.metrics import Metrics
from serving.server.observe import TimedModel
from serving.server.saved_model import SavedModel
from serving.server.status import Code, RequestError

SERVICE = "/tensorflow.serving.PredictionService/"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
SIGMOID = 1 / (1 + np.exp(-1.0))


def example(x: float | None = None) -> Example:
    message = Example()
    if x is not None:
        message.features.feature["x"].float_list.value.append(x)
    return message


def ask(core: ServerCore, method: str, request: Any, **options: Any) -> Any:
    responses = {
        "Classify": ClassificationResponse,
        "Regress": RegressionResponse,
        "MultiInference": MultiInferenceResponse,
    }
    handler = classify_handlers(core, **options)[SERVICE + method]
    answer = handler(request.SerializeToString(), Call())
    assert isinstance(answer, bytes)
    return responses[method].FromString(answer)


def filled(request: Any, signature: str = "", xs: tuple[float | None, ...] = (0.0, 1.0)) -> Any:
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    request.input.example_list.examples.extend([example(x) for x in xs])
    return request


def tasks(*named: tuple[str, str]) -> MultiInferenceRequest:
    request = MultiInferenceRequest()
    for signature, method in named:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "m"
        task.model_spec.signature_name = signature
    request.input.example_list.examples.extend([example(0.0), example(1.0)])
    return request


def test_classify_gives_labels_and_scores(examples_core: ServerCore) -> None:
    response = ask(examples_core, "Classify", filled(ClassificationRequest()))
    rows = [
        [(one.label, pytest.approx(one.score)) for one in row.classes]
        for row in response.result.classifications
    ]
    assert rows == [[("low", 0.5), ("high", 0.5)], [("low", 1 - SIGMOID), ("high", SIGMOID)]]
    assert response.model_spec.name == "m"
    assert response.model_spec.version.value == 4
    assert response.model_spec.signature_name == "serving_default"


def test_classify_with_one_output(examples_core: ServerCore) -> None:
    request = filled(ClassificationRequest(), "only_classes")
    (first, _) = ask(examples_core, "Classify", request).result.classifications
    assert [(one.label, one.score) for one in first.classes] == [("low", 0.0), ("high", 0.0)]
    request = filled(ClassificationRequest(), "only_scores")
    (first, _) = ask(examples_core, "Classify", request).result.classifications
    assert [(one.label, one.score) for one in first.classes] == [("", 0.5), ("", 0.5)]


@pytest.mark.parametrize("signature", ["half", "column"])
def test_regress(examples_core: ServerCore, signature: str) -> None:
    response = ask(examples_core, "Regress", filled(RegressionRequest(), signature, (3.0, None)))
    assert [one.value for one in response.result.regressions] == [1.5, 0.0]
    assert response.model_spec.signature_name == signature


def test_a_context_is_merged_into_each_example_which_wins(examples_core: ServerCore) -> None:
    request = RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "half"
    request.input.example_list_with_context.context.CopyFrom(example(8.0))
    request.input.example_list_with_context.examples.extend([example(2.0), example()])
    response = ask(examples_core, "Regress", request)
    assert [one.value for one in response.result.regressions] == [1.0, 4.0]


def test_multi_inference(examples_core: ServerCore) -> None:
    request = tasks(("", CLASSIFY), ("half", REGRESS), ("only_scores", CLASSIFY))
    both, half, scores = ask(examples_core, "MultiInference", request).results
    assert both.model_spec.signature_name == "serving_default"
    assert both.classification_result.classifications[0].classes[1].label == "high"
    assert [one.value for one in half.regression_result.regressions] == [0.0, 0.5]
    assert (half.model_spec.name, half.model_spec.version.value) == ("m", 4)
    assert len(scores.classification_result.classifications) == 2


def test_multi_inference_is_one_call_of_the_session(
    examples_path: Path, one_model_core: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], list[str]]] = []
    make = saved_model.make_callable

    def made(session: Any, feeds: Any, fetches: Any, **options: Any) -> Any:
        run = make(session, feeds, fetches, **options)

        def call(*arrays: Any) -> Any:
            calls.append((list(feeds), list(fetches)))
            return run(*arrays)

        return call

    monkeypatch.setattr(saved_model, "make_callable", made)
    model = TimedModel(saved_model.load(examples_path), "m", Metrics())
    request = tasks(("", CLASSIFY), ("half", REGRESS), ("only_scores", CLASSIFY))
    ask(one_model_core(model), "MultiInference", request)
    model.close()
    [(feeds, fetches)] = calls
    assert feeds == ["examples:0"]
    assert len(fetches) == 3  # classes, scores (of two tasks), outputs


def test_multi_inference_feeds_each_signatures_own_tensor(
    numeric: SavedModel, one_model_core: Callable[..., Any]
) -> None:
    """A TF2 export has an input tensor for each signature."""
    lengths, long = ask(
        one_model_core(numeric), "MultiInference", tasks(("lengths", REGRESS), ("long", CLASSIFY))
    ).results
    sizes = [float(len(example(x).SerializeToString())) for x in (0.0, 1.0)]
    assert [one.value for one in lengths.regression_result.regressions] == sizes
    scores = [row.classes[0].score for row in long.classification_result.classifications]
    assert scores == [1.0, 1.0]


REFUSED = [
    ("Classify", "absent", Code.INVALID_ARGUMENT, "No signature was found with the name: absent"),
    ("Classify", "no_tensor_input", Code.INVALID_ARGUMENT, "Expected one input Tensor."),
    (
        "Classify",
        "third_output",
        Code.INVALID_ARGUMENT,
        "Expected one or two output Tensors, found 3",
    ),
    (
        "Classify",
        "other_input",
        Code.INVALID_ARGUMENT,
        "No classification inputs found in SignatureDef: ",
    ),
    (
        "Classify",
        "no_known_output",
        Code.INVALID_ARGUMENT,
        "Expected classification signature outputs to contain at least one of "
        '"classes" or "scores". Signature was: ',
    ),
    (
        "Classify",
        "scores_vector",
        Code.INVALID_ARGUMENT,
        "Expected Tensor shape: [batch_size num_classes] but got [2]",
    ),
    (
        "Classify",
        "scores_double",
        Code.INVALID_ARGUMENT,
        "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    ),
    (
        "Classify",
        "classes_float",
        Code.INVALID_ARGUMENT,
        "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
    ),
    (
        "Classify",
        "scores_short",
        Code.INVALID_ARGUMENT,
        "Expected scores output batch size of 2. Got: 1",
    ),
    (
        "Classify",
        "uneven",
        Code.INVALID_ARGUMENT,
        "Tensors class and score should match in dim_size(1). Got 1 vs. 2",
    ),
    ("Regress", "absent", Code.INVALID_ARGUMENT, "No signature was found with the name: absent"),
    ("Regress", "both", Code.INVALID_ARGUMENT, "Expected one output Tensor."),
    ("Regress", "no_tensor_input", Code.INVALID_ARGUMENT, "Expected one input Tensor."),
    (
        "Regress",
        "other_input",
        Code.INVALID_ARGUMENT,
        "No regression inputs found in SignatureDef: ",
    ),
    (
        "Regress",
        "other_alias",
        Code.INVALID_ARGUMENT,
        "No regression outputs found in SignatureDef: ",
    ),
    (
        "Regress",
        "wide",
        Code.INVALID_ARGUMENT,
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
    ),
    (
        "Regress",
        "short",
        Code.INVALID_ARGUMENT,
        "Input batch size did not match output batch size: 2 vs. 1",
    ),
    (
        "Regress",
        "integer",
        Code.INVALID_ARGUMENT,
        "Expected output Tensor of DT_FLOAT.  Got: DT_INT64",
    ),
    (
        "Regress",
        "on_x",
        Code.INVALID_ARGUMENT,
        "Expects arg[0] to be float but string is provided",
    ),
]


@pytest.mark.parametrize(("method", "signature", "code", "message"), REFUSED)
def test_signatures_that_do_not_fit(
    examples_core: ServerCore, method: str, signature: str, code: Code, message: str
) -> None:
    request = ClassificationRequest() if method == "Classify" else RegressionRequest()
    with pytest.raises(RequestError) as caught:
        ask(examples_core, method, filled(request, signature))
    assert caught.value.code is code
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("method", "request_class"),
    [("Classify", ClassificationRequest), ("Regress", RegressionRequest)],
)
def test_bad_requests(examples_core: ServerCore, method: str, request_class: Any) -> None:
    def refused(request: Any) -> tuple[Code, str]:
        with pytest.raises(RequestError) as caught:
            ask(examples_core, method, request)
        return caught.value.code, caught.value.message

    signature = "both" if method == "Classify" else "half"
    empty = filled(request_class(), signature, ())
    assert refused(empty) == (Code.INVALID_ARGUMENT, "Input is empty.")
    empty.input.example_list_with_context.context.CopyFrom(example(1.0))
    assert refused(empty) == (Code.INVALID_ARGUMENT, "Input is empty.")
    assert refused(request_class()) == (Code.INVALID_ARGUMENT, "Missing ModelSpec")
    absent = filled(request_class())
    absent.model_spec.name = "absent"
    assert refused(absent)[0] is Code.NOT_FOUND
    with pytest.raises(RequestError, match="no valid tensorflow"):
        classify_handlers(examples_core)[SERVICE + method](b"\xff\xff", Call())


def test_the_method_name_is_checked_where_asked(examples_core: ServerCore) -> None:
    request = filled(ClassificationRequest(), "predict")
    assert ask(examples_core, "Classify", request).result.classifications
    with pytest.raises(RequestError) as caught:
        ask(examples_core, "Classify", request, check_method_name=True)
    assert caught.value.message == (
        f"Expected classification signature method_name to be {CLASSIFY}. "
        "Was: tensorflow/serving/predict"
    )
    regression = filled(RegressionRequest(), "only_scores")
    with pytest.raises(RequestError) as caught:
        ask(examples_core, "Regress", regression, check_method_name=True)
    assert caught.value.message == (
        f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}"
    )
    ask(examples_core, "Regress", filled(RegressionRequest(), "half"), check_method_name=True)


def _without_names() -> MultiInferenceRequest:
    request = tasks(("", CLASSIFY), ("half", REGRESS))
    request.tasks[1].model_spec.name = ""
    return request


def _two_models() -> MultiInferenceRequest:
    request = tasks(("", CLASSIFY), ("half", REGRESS))
    request.tasks[1].model_spec.name = "other"
    return request


def _empty_input() -> MultiInferenceRequest:
    request = tasks(("", CLASSIFY))
    request.ClearField("input")
    return request


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (_without_names(), Code.INVALID_ARGUMENT, "Found ModelSpec with an empty model name."),
        (
            _two_models(),
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            tasks(("", CLASSIFY), ("serving_default", CLASSIFY)),
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            tasks(("absent", CLASSIFY)),
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: absent",
        ),
        (
            tasks(("predict", "tensorflow/serving/predict")),
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            tasks(("half", REGRESS), ("on_x", REGRESS)),
            Code.INVALID_ARGUMENT,
            "Expects arg[0] to be float but string is provided",
        ),
        (tasks(("both", REGRESS)), Code.INVALID_ARGUMENT, "Expected one output Tensor."),
        (_empty_input(), Code.INVALID_ARGUMENT, "Input is empty."),
    ],
)
def test_bad_multi_inference(
    examples_core: ServerCore, request_: MultiInferenceRequest, code: Code, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        ask(examples_core, "MultiInference", request_)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_multi_inference_without_tasks_names_no_model(examples_core: ServerCore) -> None:
    with pytest.raises(RequestError) as caught:
        ask(examples_core, "MultiInference", MultiInferenceRequest())
    assert caught.value.message == "ModelSpec has no name specified."


def test_malformed_example_is_the_requests_fault(examples_core: ServerCore) -> None:
    request = filled(RegressionRequest(), "half", ())
    wrong = example()
    wrong.features.feature["x"].bytes_list.value.append(b"text")
    request.input.example_list.examples.append(wrong)
    with pytest.raises(RequestError, match="Data types don't match") as caught:
        ask(examples_core, "Regress", request)
    assert caught.value.code is Code.INVALID_ARGUMENT
