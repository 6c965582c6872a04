"""Classify and regress over REST, and every message about examples that are wrong.

The messages are those of json_tensor.cc of tensorflow/serving: `MakeExampleFromJsonObject`,
`FillClassifyRegressRequestFromJson`, `AddValueToFeature`.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest


def error(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    return response.json()["error"]


def test_classify(post) -> None:
    examples = [{}, {"x": [1.0]}]
    response = post("kinds", "classify", {"signature_name": "classify", "examples": examples})
    assert response.text == (
        '{\n    "results": [[["low", 0.5], ["high", 0.5]], [["low", 0.0], ["high", 1.0]]\n    ]\n}'
    )


def test_regress(post) -> None:
    examples = [{"x": 3.0}, {}, {"x": 0.2}]
    response = post("kinds", "regress", {"signature_name": "regress", "examples": examples})
    assert response.text == '{\n    "results": [1.5, 0.25, 0.1]\n}'


def test_context_is_shared_by_the_examples(post) -> None:
    document = {"signature_name": "regress", "context": {"x": 4.0}, "examples": [{}, {"x": 1.0}]}
    assert post("kinds", "regress", document).json() == {"results": [2.0, 0.5]}


def test_every_kind_of_feature(post) -> None:
    features = {
        "x": 1.0,
        "text": "é",
        "bytes": [{"b64": "/w=="}, "a"],
        "flags": [True, 2, -(2**63)],
        "huge": 2**70,  # a double to RapidJSON
        "none": [],
    }
    document = {"signature_name": "regress", "examples": [features]}
    assert post("kinds", "regress", document).json() == {"results": [0.5]}


@pytest.mark.parametrize("operation", ["classify", "regress"])
@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not "
         "found"),
        ({"signature_name": []},
         'JSON Value: {\n    "signature_name": []\n} not formatted correctly. '
         "'signature_name' key must be a string value."),
        ({"examples": {}},
         'JSON Value: {\n    "examples": {}\n} Expecting \'examples\' value to be an list/array'),
        ({"examples": []},
         'JSON Value: {\n    "examples": []\n} \'examples\' value is an empty array'),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"context": [], "examples": [{}]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"x": None}]},
         "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1]]}]},
         "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": {"b64": 1}}]},
         "Feature: x has element with unexpected JSON type: Object"),
        ({"examples": [{"x": [1.5, 1]}]},
         "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": [1, 1.5]}]},
         "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": ["a", True]}]},
         "Unexpected element type in feature: x expecting type: bytes"),
        ({"examples": [{"x": 2**63}]},
         "Feature: x has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": 1e39}]},
         "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ({"examples": [{"x": {"b64": "a"}}]}, "Unable to base64 decode"),
        ({"examples": [{"\ud800": 1}]},
         "JSON Parse error: The surrogate pair in string is invalid."),
    ],
)  # fmt: skip
def test_examples_that_are_wrong(post, operation: str, document: Any, message: str) -> None:
    assert error(post("kinds", operation, document)) == message


def test_a_number_past_every_type(post) -> None:
    number = 10**400
    message = f"Cannot convert JSON value: {number} to float without loss of precision."
    document = {"signature_name": "regress", "examples": [{"x": number}]}
    assert error(post("kinds", "regress", document)) == message
    assert error(post("kinds", "predict", {"inputs": [[1, number]]})) == message


def test_what_the_handler_refuses(post) -> None:
    examples = {"examples": [{"x": 1.0}]}
    assert error(post("nope", "classify", examples), 404) == (
        "Servable not found for request: Latest(nope)"
    )
    missing = {"signature_name": "nope", **examples}
    assert "nope" in error(post("kinds", "regress", missing))


def test_a_server_without_these_handlers(start) -> None:
    _, url = start(methods={})
    body = {"examples": [{}]}
    response = httpx.post(f"{url}/v1/models/kinds:classify", json=body, trust_env=False)
    assert error(response, 501) == "/tensorflow.serving.PredictionService/Classify is not served"
