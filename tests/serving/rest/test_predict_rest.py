"""Predict over REST: rows and columns, every dtype, and every message about a bad request.

The messages are those of json_tensor.cc of tensorflow/serving (`FillPredictRequestFromJson`,
`FillTensorProto`, `AddInstanceItem`), and of GetInfoMap in http_rest_api_handler.cc.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import httpx
import pytest


def error(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def test_rows(post) -> None:
    response = post("kinds", "predict", {"instances": [[1, 2], [3.5, 4]]})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.text == '{\n    "predictions": [3.0, 7.5\n    ]\n}'


def test_rows_of_a_named_input(post) -> None:
    response = post("kinds", "predict", {"instances": [{"x": [1, 2]}]})
    assert response.json() == {"predictions": [3.0]}


def test_rows_of_objects_with_several_outputs(post) -> None:
    rows = [{"x": [1, 2], "word": "a"}, {"word": {"b64": "/wA="}, "x": [0.5, 0]}]
    response = post("kinds", "predict", {"signature_name": "two", "instances": rows})
    assert response.text == (
        '{\n    "predictions": [\n'
        '        {\n            "doubled": [2.0, 4.0],\n'
        '            "word_bytes": {"b64": "YQ=="}\n        },\n'
        '        {\n            "doubled": [1.0, 0.0],\n'
        '            "word_bytes": {"b64": "/wA="}\n        }\n    ]\n}'
    )


def test_columns(post) -> None:
    inputs = {"x": [[1, 2]], "word": ["é"]}
    response = post("kinds", "predict", {"signature_name": "two", "inputs": inputs})
    word = base64.b64encode("é".encode()).decode()
    assert response.json() == {"outputs": {"doubled": [[2.0, 4.0]], "word_bytes": [{"b64": word}]}}


def test_columns_of_one_input_need_no_name(post) -> None:
    assert post("kinds", "predict", {"inputs": [[1, 2]]}).json() == {"outputs": [3.0]}
    assert post("kinds", "predict", {"inputs": {"x": [[1, 2]]}}).json() == {"outputs": [3.0]}


def test_scalars_go_in_and_out_in_columns(post) -> None:
    document = {"signature_name": "scalars", "inputs": {"word": {"b64": "YQA="}, "numbers": [1, 2]}}
    assert post("taxi", "predict", document).json() == {"outputs": {"echo": "a\0\0", "total": 3}}
    one = {"signature_name": "int64", "inputs": 5}
    assert post("kinds", "predict", one).json() == {"outputs": 5}
    word = {"signature_name": "string", "inputs": {"b64": "YQ=="}}
    assert post("kinds", "predict", word).json() == {"outputs": "a"}


@pytest.mark.parametrize("path", ["taxi", "taxi/versions/7", "taxi/labels/stable", "%74axi"])
def test_a_version_or_label_in_the_path(post, path: str) -> None:
    document = {"signature_name": "dense", "instances": [[1, 2, 3]]}
    (row,) = post(path, "predict", document).json()["predictions"]
    assert row == {"y": [12.0], "text": ["1.000000", "2.000000", "3.000000"]}


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float", [0.1, 1e10, -3.0, 16777215.0, 3.4028234e38, 1e-45, 123456.789, 0.0]),
        ("double", [0.1, 1e300, 9007199254740991.0, 1 / 3]),
        ("half", [0.5, -2.0]),
        ("int32", [-(2**31), 2**31 - 1]),
        ("uint8", [0, 255]),
        ("int8", [-128, 127]),
        ("int64", [-(2**63), 2**63 - 1]),
        ("uint16", [65535]),
        ("uint32", [2**32 - 1]),
        ("uint64", [2**64 - 1, 0]),
        ("bool", [True, False]),
        ("string", ["", 'é\n"\\', "\U0001f600"]),
    ],
)
@pytest.mark.parametrize("key", ["inputs", "instances"])
def test_values_come_back(post, dtype: str, values: list[Any], key: str) -> None:
    sent = [values, values]
    response = post("kinds", "predict", {"signature_name": dtype, key: sent})
    answer = response.json()["outputs" if key == "inputs" else "predictions"]
    types = [[type(value) for value in row] for row in answer]
    assert types == [[type(value) for value in values]] * 2
    if dtype == "float":
        assert answer[0] == pytest.approx(values, rel=1e-7)
    else:
        assert answer == sent


def test_floats_are_written_with_the_digits_of_the_real_server(post) -> None:
    sent = [0.1, 1 / 3, 16777215, 1e6, 3e-05, 123456.789, -2, 1.5e-42]
    response = post("kinds", "predict", {"signature_name": "float", "inputs": sent})
    assert response.text == (
        '{\n    "outputs": [0.1, 0.333333343, 16777215.0, 1e+06, 3e-05, 123456.789, -2.0, '
        "1.49939e-42]\n}"
    )


def test_nan_and_infinity_are_literals(http: httpx.Client) -> None:
    body = b'{"signature_name": "double", "inputs": [NaN, Infinity, -Infinity]}'
    response = http.post("/v1/models/kinds:predict", content=body)
    assert response.text == '{\n    "outputs": [NaN, Infinity, -Infinity]\n}'
    assert math.isnan(json.loads(response.text)["outputs"][0])


@pytest.mark.parametrize("shape", ["[]", "[[], []]", "[[[1], [2]], [[3], [4]]]", "7"])
def test_any_shape_goes_through(post, shape: str) -> None:
    value = json.loads(shape)
    response = post("kinds", "predict", {"signature_name": "int64", "inputs": value})
    assert response.json() == {"outputs": value}


def test_integers_wrap_in_narrow_types_and_widen_in_floats(post) -> None:
    narrow = {"signature_name": "uint8", "inputs": [256, -1]}
    assert post("kinds", "predict", narrow).json() == {"outputs": [0, 255]}
    mixed = {"signature_name": "float", "inputs": [1, 2.5]}
    assert post("kinds", "predict", mixed).json() == {"outputs": [1.0, 2.5]}
    huge = {"signature_name": "double", "inputs": [2**70]}  # a double to RapidJSON
    assert post("kinds", "predict", huge).json() == {"outputs": [float(2**70)]}


def test_bytes_that_are_no_utf8_go_through(http: httpx.Client) -> None:
    body = b'{"signature_name": "string", "inputs": ["\xff"]}'
    response = http.post("/v1/models/kinds:predict", content=body)
    assert response.content == b'{\n    "outputs": ["\xff"]\n}'


def test_a_byte_order_mark_is_skipped(http: httpx.Client) -> None:
    body = b'\xef\xbb\xbf{"inputs": [[1, 2]]}'
    assert http.post("/v1/models/kinds:predict", content=body).json() == {"outputs": [3.0]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "The document is empty"),
        (" \n", "The document is empty. at offset: 2"),
        ("{'a': 1}", "Missing a name for object member. at offset: 1"),
        ('{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        ('{"a": 1 "b": 2}', "Missing a comma or } after an object member. at offset: 8"),
        ('{"a{": [1 2]}', "Missing a comma or ] after an array element. at offset: 10"),
        ('{"é": }', "Invalid value. at offset: 7"),
        ('{"a": "b', "Missing a closing quotation mark in string. at offset: 8"),
        ('{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
        ('{"a": "\\u12"}', "Incorrect hex digit after \\u escape in string. at offset: 7"),
        ('{"a": "\x01"}', "Invalid encoding in string. at offset: 7"),
        ("{} {}", "The document root must not be followed by other values. at offset: 3"),
        ('{"a": ' + "9" * 5000 + "}", "Number too big to be stored in double. at offset: 0"),
        ('{"signature_name": "string", "inputs": ["\\ud800"]}',
         "The surrogate pair in string is invalid."),
    ],
)  # fmt: skip
def test_malformed_json(http: httpx.Client, body: str, message: str) -> None:
    response = http.post("/v1/models/kinds:predict", content=body.encode())
    assert error(response) == f"JSON Parse error: {message}"


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
def test_json_nested_ten_thousand_fold(http: httpx.Client, open_: str, close: str) -> None:
    body = '{"inputs": ' + open_ * 10_000 + "1" + close * 10_000 + "}"
    response = http.post("/v1/models/kinds:predict", content=body.encode())
    assert error(response) == "JSON Parse error: nested too deeply"
    assert http.get("/healthz").status_code == 200


def test_json_nested_deeper_than_a_tensor_can_be(http: httpx.Client) -> None:
    inputs = "[" * 500 + "1" + "]" * 500
    for key in ("inputs", "instances"):
        body = f'{{"signature_name": "int64", "{key}": {inputs}}}'
        response = http.post("/v1/models/kinds:predict", content=body.encode())
        assert "dimensions" in error(response)
    deep_object = '{"inputs": ' + '{"a":' * 500 + "1" + "}" * 501
    response = http.post("/v1/models/kinds:predict", content=deep_object.encode())
    assert error(response) == "Missing named input: x in 'inputs' object."


ELEMENT = "Failed to process element: "
LIST = " of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1], "JSON Value: [\n    1\n] Is not object"),
        (1.5, "JSON Value: 1.5 Is not object"),
        ({"signature_name": 1},
         'JSON Value: {\n    "signature_name": 1\n} not formatted correctly. \'signature_name\' '
         "key must be a string value."),
        ({"signature_name": "nope", "inputs": []},
         'Serving signature name: "nope" not found in signature def'),
        ({"signature_name": "constant", "inputs": {}},
         "Failed to get input map for signature: constant"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": 1, "instances": 1},
         'JSON Value: {\n    "inputs": 1,\n    "instances": 1\n} Not formatted correctly '
         "expecting only one of 'inputs' or 'instances' keys to exist "),
        ({"instances": 1},
         'JSON Value: {\n    "instances": 1\n} Excepting \'instances\' to be an list/array'),
        ({"instances": []},
         'JSON Value: {\n    "instances": []\n} No values in \'instances\' array'),
        ({"signature_name": "two", "instances": [[1, 2]]},
         "instances is a plain list, but expecting list of objects as multiple input tensors "
         "required as per tensorinfo_map"),
        ({"signature_name": "two", "inputs": [[1, 2]]},
         "inputs is a plain value/list, but expecting an object as multiple input tensors "
         "required as per tensorinfo_map"),
        ({"signature_name": "two", "inputs": {"x": [[1, 2]]}},
         "Missing named input: word in 'inputs' object."),
        ({"instances": [{"x": [1, 2]}, [1, 2]]},
         "Expecting object but got list at item 1 of input list"),
        ({"instances": [[1, 2], {"x": [1, 2]}]},
         "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [{"x": [1, 2], "z": 1}]},
         f"{ELEMENT}0 key: z{LIST}JSON object: does not have named input: z"),
        ({"signature_name": "two", "instances": [{"x": [1, 2]}]},
         f'{ELEMENT}0 of \'instances\' list. JSON object: {{\n    "x": [\n        1,\n        2\n'
         "    ]\n} keys must be equal to: word,x"),
        ({"instances": [[1, 2], [3]]}, f"{ELEMENT}1{LIST}Expecting tensor size: 2 but got: 1"),
        ({"signature_name": "float", "instances": [[1, 2], [[1], [2]]]},
         f"{ELEMENT}1{LIST}Expecting shape [2] but got: [2,1]"),
        ({"instances": [[1, "a"]]},
         f'{ELEMENT}0{LIST}JSON Value: "a" Type: String is not of expected type: float'),
        ({"inputs": [[1, 2], [3]]},
         "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ({"inputs": [[1, 2], 3]},
         "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ({"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"inputs": [[1, None]]},
         "JSON Value: null Type: Null is not of expected type: float"),
        ({"inputs": [[1, True]]}, "JSON Value: true Type: True is not of expected type: float"),
        ({"inputs": {"x": [[1, {"a": 0.5}]]}},
         'JSON Value: {\n    "a": 0.5\n} Type: Object is not of expected type: float'),
        ({"inputs": [[1, 16777216]]},
         "Cannot convert JSON value: 16777216 to float without loss of precision."),
        ({"inputs": [[1, 1e39]]},
         "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ({"signature_name": "double", "inputs": [2**53]},
         f"Cannot convert JSON value: {2**53} to double without loss of precision."),
        ({"signature_name": "int32", "inputs": [1.0]},
         "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ({"signature_name": "int32", "inputs": [2**31]},
         f"JSON Value: {2**31} Type: Number is not of expected type: int32"),
        ({"signature_name": "int64", "inputs": [False]},
         "JSON Value: false Type: False is not of expected type: int64"),
        ({"signature_name": "int64", "inputs": [2**63]},
         f"JSON Value: {2**63} Type: Number is not of expected type: int64"),
        ({"signature_name": "uint32", "inputs": [-1]},
         "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ({"signature_name": "uint64", "inputs": [-1]},
         "JSON Value: -1 Type: Number is not of expected type: uint64"),
        ({"signature_name": "bool", "inputs": [1]},
         "JSON Value: 1 Type: Number is not of expected type: bool"),
        ({"signature_name": "string", "inputs": [1]},
         "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"signature_name": "string", "inputs": [{"b64": 1}]},
         'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
        ({"signature_name": "string", "inputs": [{"b64": "a"}]}, "Unable to base64 decode"),
        ({"signature_name": "string", "inputs": [{"b64": "?a=="}]}, "Unable to base64 decode"),
        ({"signature_name": "complex64", "inputs": {"x": [{"a": 1}]}},
         'JSON Value: {\n    "a": 1\n} Type: Object is not of expected type: complex64'),
        ({"signature_name": "scalar", "instances": [[1, 2]]},
         "Tensor name: total has no shape information "),
        ({"signature_name": "uneven", "instances": [[1, 2], [3, 4]]},
         "Tensor name: b has inconsistent batch size: 1 expecting: 2"),
    ],
)  # fmt: skip
def test_requests_that_do_not_match(post, document: Any, message: str) -> None:
    assert error(post("kinds", "predict", document)) == message


def test_a_dtype_that_json_has_not(post) -> None:
    response = post("kinds", "predict", {"signature_name": "complex64", "inputs": [1]})
    assert error(response, 501) == "Conversion of JSON Value: 1 to type: complex64"


def test_what_the_graph_refuses(post) -> None:
    message = error(post("kinds", "predict", {"signature_name": "refusing", "inputs": [[-1, 0]]}))
    assert "not positive" in message
    message = error(post("taxi", "predict", {"signature_name": "dense", "inputs": [[1]]}))
    assert "Matrix size-incompatible" in message


def test_a_large_value_is_shortened_in_the_message(post) -> None:
    message = error(post("kinds", "predict", {"instances": {"a": ["b" * 100] * 1000}}))
    assert len(message) < 2200
    assert message.endswith("... Excepting 'instances' to be an list/array")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nope", "Servable not found for request: Latest(nope)"),
        ("taxi/versions/8", "Servable not found for request: Specific(taxi, 8)"),
    ],
)
def test_a_model_or_version_that_is_not_there(post, path: str, message: str) -> None:
    assert error(post(path, "predict", {"instances": [1]}), 404) == message


def test_a_label_that_is_not_there(post) -> None:
    response = post("taxi/labels/nope", "predict", {"instances": [1]})
    assert error(response) == "Unrecognized servable version label: nope"


def test_json_is_read_before_the_model_is_looked_for(http: httpx.Client) -> None:
    response = http.post("/v1/models/nope:predict", content=b"")
    assert error(response) == "JSON Parse error: The document is empty"


def test_a_large_request(post) -> None:
    rows = [[i % 7, 1] for i in range(50_000)]
    response = post("kinds", "predict", {"instances": rows})
    assert response.json()["predictions"][:8] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1.0]
