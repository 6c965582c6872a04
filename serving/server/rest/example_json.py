"""The JSON of classify and regress requests to tf.Examples (json_tensor.cc of TF Serving)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.example.feature_pb2 import Feature
from tensorflow_serving.apis.input_pb2 import Input

from serving.server.rest.parsing import FLOAT32_MAX, is_base64, string_bytes, type_text, value_text
from serving.server.rest.values import lossy
from serving.server.status import RequestError, invalid_argument

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)


def read_examples(document: Mapping[str, Any], target: Input) -> None:
    """Writes `examples`, and `context` if there is one, into an empty `Input`.

    Raises:
        RequestError: INVALID_ARGUMENT: one of them is missing, empty or no list of feature maps.
    """
    if "context" in document:
        _read_example(document["context"], target.example_list_with_context.context)
        examples = target.example_list_with_context.examples
    else:
        examples = target.example_list.examples
    if "examples" not in document:
        raise _format_error(
            document, "When method is classify, key 'examples' is expected and was not found"
        )
    values = document["examples"]
    if not isinstance(values, list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not values:
        raise _format_error(document, "'examples' value is an empty array")
    for value in values:
        _read_example(value, examples.add())


def _read_example(value: Any, example: Example) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_text(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        values = content if isinstance(content, list) else [content]
        if not _extend(values, feature):
            for element in values:
                _add(element, name, feature)


def _extend(values: list[Any], feature: Feature) -> bool:
    """Takes all values at once, if they are of one type and each fits."""
    types = set(map(type, values))
    if types == {float} and all(map(_fits_float, values)):
        feature.float_list.value.extend(values)
    elif types == {int} and min(values) in _INT64 and max(values) in _INT64:
        feature.int64_list.value.extend(values)
    elif types == {str}:
        feature.bytes_list.value.extend(map(string_bytes, values))
    else:
        return False
    return True


def _add(value: Any, name: str, feature: Feature) -> None:
    """Appends one value; the first one decides on the feature's kind."""
    if isinstance(value, str) or is_base64(value):
        _check_kind(name, feature, "bytes_list")
        feature.bytes_list.value.append(string_bytes(value))
    elif isinstance(value, int) and value in _INT64:  # true and false among them
        _check_kind(name, feature, "int64_list")
        feature.int64_list.value.append(int(value))
    elif isinstance(value, int) and value in _UINT64:
        _check_kind(name, feature, "int64_list")
        raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
    elif isinstance(value, int | float):  # an integer past 64 bits is a double to RapidJSON
        _check_kind(name, feature, "float_list")
        if not _fits_float(value):
            raise lossy(value, "float")
        feature.float_list.value.append(value)
    else:
        raise invalid_argument(
            f"Feature: {name} has element with unexpected JSON type: {type_text(value)}"
        )


def _fits_float(value: float) -> bool:
    return abs(value) <= FLOAT32_MAX or value != value or abs(value) == math.inf


def _check_kind(name: str, feature: Feature, kind: str) -> None:
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        raise invalid_argument(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{present.removesuffix('_list')}"
        )


def _format_error(document: Mapping[str, Any], message: str) -> RequestError:
    return invalid_argument(f"JSON Value: {value_text(document)} {message}")
