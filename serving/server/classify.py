"""PredictionService's methods on tf.Examples: Classify, Regress and MultiInference.

Codes and messages are those of classification_service.cc, regression_service.cc and
multi_inference.cc of tensorflow/serving.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from serving.server.answers import Answer
from serving.server.batching import run_each, run_or_batch
from serving.server.calls import Call, Handler
from serving.server.core import ServerCore
from serving.server.example_signatures import (
    CLASSIFY,
    INPUT,
    REGRESS,
    ExampleMethod,
    read_examples,
)
from serving.server.parsing import lease, parse
from serving.server.saved_model import DEFAULT_SIGNATURE
from serving.server.status import Code, RequestError, invalid_argument

_SERVICE = "/tensorflow.serving.PredictionService/"
_METHODS = {method.name: method for method in (CLASSIFY, REGRESS)}


def classify_handlers(core: ServerCore, *, check_method_name: bool = False) -> dict[str, Handler]:
    """Full method name to its handler, as `handlers.build_handlers`.

    Args:
        core: The models.
        check_method_name: Refuse a signature whose `method_name` is not the method's
            (`--enable_signature_method_name_check`). TF2 exports state
            `tensorflow/serving/predict` for every signature.
    """
    handlers: dict[str, Handler] = {}
    for name, handler in (("Classify", classify), ("Regress", regress)):
        answer = partial(handler, core, check_method_name=check_method_name)
        answer.inline = True  # type: ignore[attr-defined]
        handlers[_SERVICE + name] = answer
    handlers[_SERVICE + "MultiInference"] = partial(
        multi_inference, core, check_method_name=check_method_name
    )
    return handlers


def classify(
    core: ServerCore, data: bytes, call: Call, *, check_method_name: bool = False
) -> bytes | Answer[bytes]:
    """PredictionService.Classify: labels and scores of each example."""
    request = parse(ClassificationRequest, data)
    return _answer(core, call, request, ClassificationResponse(), CLASSIFY, check_method_name)


def regress(
    core: ServerCore, data: bytes, call: Call, *, check_method_name: bool = False
) -> bytes | Answer[bytes]:
    """PredictionService.Regress: one number for each example."""
    request = parse(RegressionRequest, data)
    return _answer(core, call, request, RegressionResponse(), REGRESS, check_method_name)


def multi_inference(
    core: ServerCore, data: bytes, call: Call, *, check_method_name: bool = False
) -> bytes:
    """PredictionService.MultiInference: several signatures of one model on the same examples.

    Signatures may read the examples from tensors of their own, as those of a TF2 export do: each
    is fed the same (PerformOneShotTensorComputation in util.cc).
    """
    request = parse(MultiInferenceRequest, data)
    first = request.tasks[0].model_spec if request.tasks else ModelSpec()
    response = MultiInferenceResponse()
    with lease(core, call, True, first) as (version, model):
        tasks = _check_tasks(request, model.signatures, check_method_name)
        examples = read_examples(request.input)
        answers = run_each(model, tasks, {INPUT: examples}, call)
        for task, arrays in zip(request.tasks, answers, strict=True):
            result = response.results.add()
            if task.method_name == CLASSIFY.name:
                CLASSIFY.write(result.classification_result, arrays, len(examples))
            else:
                REGRESS.write(result.regression_result, arrays, len(examples))
            _write_spec(result.model_spec, task.model_spec, version)
    return bytes(response.SerializeToString())


def _answer(
    core: ServerCore,
    call: Call,
    request: ClassificationRequest | RegressionRequest,
    response: ClassificationResponse | RegressionResponse,
    method: ExampleMethod,
    check_method_name: bool,
) -> bytes | Answer[bytes]:
    with lease(core, call, request.HasField("model_spec"), request.model_spec) as (version, model):
        key = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = model.signatures.get(key)
        if signature is None:
            raise invalid_argument(f"No signature was found with the name: {key}")
        if check_method_name:
            method.check_name(signature)
        outputs = method.outputs(signature)
        examples = read_examples(request.input)
        _write_spec(response.model_spec, request.model_spec, version)

        def respond(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
            method.write(response.result, arrays, len(examples))
            return bytes(response.SerializeToString())

        return run_or_batch(model, key, {INPUT: examples}, outputs, call, respond)


def _check_tasks(
    request: MultiInferenceRequest, signatures: dict[str, SignatureDef], check_method_name: bool
) -> dict[str, list[str]]:
    """Signature key to the output aliases to run, one for each task, in the tasks' order."""
    chosen: dict[str, list[str]] = {}
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if key in chosen:
            raise invalid_argument(f"Duplicate evaluation of signature: {key}")
        signature = signatures.get(key)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {key}")
        method = _METHODS.get(task.method_name)
        if method is None:
            raise RequestError(
                Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
            )
        if check_method_name:
            method.check_name(signature)
        chosen[key] = method.outputs(signature)
    return chosen


def _write_spec(spec: ModelSpec, asked: ModelSpec, version: int) -> None:
    spec.name = asked.name
    spec.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    spec.version.value = version
