"""Status, metadata, the list of models, probes, metrics, OpenAPI, CORS and paths.

Texts and rules of tensorflow/serving: `Malformed request` and the paths of http_rest_api_handler.cc
and http_rest_api_util.cc (`kPredictionApiGegex`, `kModelStatusApiRegex`, `AddCORSHeaders`); the
preflight of http_server.cc (pull request 1817).
"""

from __future__ import annotations

from typing import Any

import httpx
import openapi_spec_validator
import pytest
from jsonschema import Draft202012Validator
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server.core import ServerCore
from serving.server.saved_model import load

AVAILABLE = {
    "version": "7",
    "state": "AVAILABLE",
    "status": {"error_code": "OK", "error_message": ""},
}


def error(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


@pytest.mark.parametrize("path", ["", "/versions/7", "/labels/stable"])
def test_status(http: httpx.Client, path: str) -> None:
    response = http.get(f"/v1/models/taxi{path}")
    assert response.json() == {"model_version_status": [AVAILABLE]}
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["", "/versions/7", "/labels/stable"])
def test_metadata(http: httpx.Client, path: str) -> None:
    metadata = http.get(f"/v1/models/taxi{path}/metadata").json()
    assert metadata["model_spec"]["name"] == "taxi"
    assert metadata["model_spec"]["version"] == "7"
    dense = metadata["metadata"]["signature_def"]["signature_def"]["dense"]
    assert dense["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert dense["inputs"]["x"]["tensor_shape"]["dim"][0]["size"] == "-1"
    assert dense["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("/v1/models/taxi/versions/8", 404, "Could not find version 8 of model taxi"),
        ("/v1/models/taxi/labels/nope", 400, "Unrecognized servable version label: nope"),
        ("/v1/models/nope/metadata", 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/versions/1", 400, "Missing model name in request."),
        ("/v1/models/taxi/versions/99999999999999999999", 400,
         "Failed to convert version: 99999999999999999999 to numeric."),
        ("/v1/models/taxi:predict", 400, "Malformed request: GET /v1/models/taxi:predict"),
        ("/v1/models/taxi/versions/x", 400, "Malformed request: GET /v1/models/taxi/versions/x"),
        ("/v1/nothing", 400, "Malformed request: GET /v1/nothing"),
        ("/v1/models/taxi?x=1", 404, "Could not find any versions of model taxi?x=1"),
        ("/V1/Models/nope", 404, "Could not find any versions of model nope"),
        ("/", 404, "Not found: /"),
        ("/v2/models", 404, "Not found: /v2/models"),
        ("/v1", 404, "Not found: /v1"),
        ("/v1/models/a%2Fb", 404, "Could not find any versions of model a/b"),
        ("/v1/models/..%2f..%2fetc", 404, "Could not find any versions of model ../../etc"),
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere(http: httpx.Client, path: str, status: int, message: str) -> None:
    assert error(http.get(path), status) == message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/taxi"),
        ("POST", "/v1/models/taxi:explain"),
        ("POST", "/v1/models/taxi:PREDICT"),
        ("POST", "/v1/models/taxi:predict?x=1"),
        ("POST", "/v1/models/taxi/versions/7/labels/stable:predict"),
        ("PUT", "/v1/models/taxi:predict"),
        ("DELETE", "/v1/models/taxi"),
        ("OPTIONS", "/v1/models/taxi:predict"),
    ],
)
def test_malformed_requests(http: httpx.Client, method: str, path: str) -> None:
    assert error(http.request(method, path)) == f"Malformed request: {method} {path}"


def test_all_models_are_listed(http: httpx.Client) -> None:
    models = http.get("/v1/models").json()["models"]
    assert [model["name"] for model in models] == ["kinds", "taxi"]
    assert models[1] == {
        "name": "taxi",
        "model_version_status": [AVAILABLE],
        "version_labels": {"stable": "7"},
    }


def test_probes(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}
    assert http.head("/readyz").status_code == 200
    assert error(http.post("/readyz"), 405) == "Method POST is not allowed for /readyz"


def test_not_ready_says_which_model_is_missing(start, tmp_path: Any) -> None:
    core = ServerCore(lambda _, path: load(path))
    config = ModelServerConfig()
    config.model_config_list.config.add(
        name="late", base_path=str(tmp_path), model_platform="tensorflow"
    )
    core.configure(config, wait=False)
    _, url = start(core=core, methods={})
    response = httpx.get(f"{url}/readyz", trust_env=False)
    assert response.status_code == 503
    assert response.json() == {
        "status": "not ready",
        "unavailable": [{"name": "late", "model_version_status": []}],
    }
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    document = httpx.get(f"{url}/openapi.json", trust_env=False).json()
    assert "/v1/models/late:predict" not in document["paths"]


def test_metrics(http: httpx.Client, start) -> None:
    response = http.get("/monitoring/prometheus/metrics")
    assert response.text == "requests 1\n"
    assert response.headers["content-type"] == "text/plain"
    _, url = start(metrics=lambda: b"here\n", metrics_path="/m")
    with httpx.Client(base_url=url, trust_env=False) as other:
        assert other.get("/m").text == "here\n"
        assert error(other.get("/monitoring/prometheus/metrics"), 404)


def test_openapi_document(http: httpx.Client) -> None:
    response = http.get("/openapi.json")
    document = response.json()
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1.")
    assert "/v1/models/{model}/versions/{version}:predict" in document["paths"]
    operation = document["paths"]["/v1/models/taxi:predict"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    check = Draft202012Validator({**schema, "components": document["components"]}).is_valid
    dense = {"signature_name": "dense"}
    assert check({**dense, "instances": [[1, 2, 3]]})
    assert check({**dense, "instances": [{"x": [1, 2, 3]}]})
    assert check({**dense, "inputs": {"x": [[1, 2, 3]]}})
    assert check({"instances": [{"b64": "YQ=="}]})
    assert not check({**dense, "instances": [[1, 2]]})
    assert not check({**dense, "instances": [["a", 2, 3]]})
    assert not check({"instances": [[1, 2, 3]]})
    assert not check({**dense, "instances": [], "inputs": []})


def test_cors(start) -> None:
    _, url = start(cors=True)
    allowed = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type",
    }
    with httpx.Client(base_url=url, trust_env=False) as client:
        path = "/v1/models/taxi:predict"
        preflight = client.options(path, headers={"Origin": "https://app.example"})
        assert (preflight.status_code, preflight.text) == (200, "")
        assert error(client.options(path)) == "Origin header is missing in CORS preflight"
        responses = [preflight, client.get("/v1/models/taxi"), client.get("/v1/models/nope")]
        for response in responses:
            assert {name: response.headers[name] for name in allowed} == allowed


def test_no_cors_unless_asked_for(http: httpx.Client) -> None:
    response = http.get("/v1/models/taxi", headers={"Origin": "https://app.example"})
    assert "access-control-allow-origin" not in response.headers
