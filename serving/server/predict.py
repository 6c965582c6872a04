"""PredictionService.Predict: tensors in, one signature's tensors out.

Codes and messages are those of predict_util.cc of tensorflow/serving and of cc/saved_model/util.cc
of tensorflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.server.answers import Answer
from serving.server.batching import run_or_batch
from serving.server.calls import Call
from serving.server.core import ServerCore
from serving.server.parsing import lease, parse
from serving.server.predict_request import RequestReader
from serving.server.predict_response import predict_response
from serving.server.saved_model import DEFAULT_SIGNATURE
from serving.server.signatures import Plan
from serving.server.status import Code, RequestError, invalid_argument
from serving.tensors import to_array

_READER = RequestReader()
_METHOD_NAMES = tuple(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))


def predict(
    core: ServerCore,
    data: bytes,
    call: Call,
    *,
    as_tensor_content: bool = False,
    check_method_name: bool = False,
) -> bytes | Answer[bytes]:
    """Runs one signature on the request's tensors.

    Args:
        core: The models.
        data: A PredictRequest.
        call: What else is known of the request.
        as_tensor_content: Answer numbers as `tensor_content`.
        check_method_name: Refuse a signature whose `method_name` is not one of TensorFlow
            Serving's.
    """
    request, arrays = _READER.read(data)
    spec = request.model_spec
    with lease(core, call, request.HasField("model_spec"), spec) as (version, model):
        name = spec.signature_name or DEFAULT_SIGNATURE
        plan = model.signatures.plan(name)
        if plan is None:
            raise RequestError(
                Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        if check_method_name and plan.definition.method_name not in _METHOD_NAMES:
            raise RequestError(
                Code.INTERNAL,
                "Expected prediction signature method_name to be one of "
                f"{{{', '.join(_METHOD_NAMES)}}}. Was: {plan.definition.method_name}",
            )
        if arrays is not None and len(plan.inputs) == 1 and plan.inputs[0][0] in arrays:
            inputs = arrays
        else:
            sent = request if arrays is None else parse(PredictRequest, data)
            inputs = _read_inputs(plan, sent.inputs)
        chosen = request.output_filter
        outputs = _select_outputs(plan.definition, chosen) if chosen else plan.outputs
        respond = partial(predict_response, spec.name, name, version, as_tensor_content)
        return run_or_batch(model, name, inputs, outputs, call, respond)


def _read_inputs(plan: Plan, sent: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    if len(sent) != len(plan.inputs):
        _check_size(plan.definition, sent)
    arrays, defaults = {}, 0
    for alias, info in plan.inputs:
        if alias in sent:
            try:
                arrays[alias] = to_array(sent[alias], info)
            except ValueError as error:
                raise invalid_argument(f"tensor parsing error: {alias}: {error}") from error
        else:
            arrays[alias] = _default(plan.definition, alias, sent)
            defaults += 1
    if len(sent) + defaults > len(arrays):
        _check_names(plan.definition, sent)
    return arrays


def _default(signature: SignatureDef, alias: str, sent: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    if alias not in signature.defaults:
        raise invalid_argument(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not "
            "found in request and no default value provided. Inputs expected to be in the "
            f"request {{{_listed(sent)}}}, or default input alias set: "
            f"{_listed(signature.defaults)}"
        )
    try:
        return to_array(signature.defaults[alias])
    except ValueError as error:
        raise invalid_argument(f"tensor parsing error: {alias}: {error}") from error


def _check_size(signature: SignatureDef, sent: Mapping[str, Any]) -> None:
    if len(sent) < len(signature.inputs) and signature.defaults:
        return
    extra, missing = set(sent) - set(signature.inputs), set(signature.inputs) - set(sent)
    raise invalid_argument(
        f"input size does not match signature: {len(sent)}!={len(signature.inputs)} "
        f"len({{{_listed(sent)}}}) != len({{{_listed(signature.inputs)}}}). "
        f"Sent extra: {{{_listed(extra)}}}. Missing but required: {{{_listed(missing)}}}."
    )


def _check_names(signature: SignatureDef, sent: Mapping[str, Any]) -> None:
    """Where inputs have defaults, a name that is none may come in the place of one that is."""
    extra = set(sent) - set(signature.inputs)
    if extra:
        raise invalid_argument(
            "Inputs contains invalid name. Used request inputs: "
            f"{_listed(set(sent) - extra)}, request input: {_listed(sent)}"
        )


def _select_outputs(signature: SignatureDef, output_filter: Iterable[str]) -> Sequence[str]:
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{_listed(signature.outputs)}}}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
