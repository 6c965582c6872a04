"""The OpenAPI 3.1 document of the REST port, with the schemas of the models it serves now."""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any
from urllib.parse import quote

from serving.server.core import ServerCore
from serving.server.status import RequestError

_VERSION_PATHS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "": [],
    "/versions/{version}": [("version", {"type": "integer", "minimum": 0})],
    "/labels/{label}": [("label", {"type": "string"})],
}
_LEAVES: dict[int, dict[str, Any]] = {
    **{number: {"type": "number"} for number in (1, 2, 14, 19)},
    **{number: {"type": "integer"} for number in (3, 4, 5, 6, 9, 17, 22, 23)},
    7: {"$ref": "#/components/schemas/Bytes"},
    10: {"type": "boolean"},
}
_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "properties": {"error": {"type": "string"}},
        "required": ["error"],
    },
    "Bytes": {
        "description": 'Text, or bytes as {"b64": "..."}.',
        "oneOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
                "required": ["b64"],
                "additionalProperties": False,
            },
        ],
    },
    "PredictRequest": {
        "description": "Rows as `instances`, or columns as `inputs`.",
        "type": "object",
        "properties": {
            "signature_name": {"type": "string", "default": "serving_default"},
            "instances": {"type": "array", "minItems": 1},
            "inputs": {},
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    },
    "PredictResponse": {
        "type": "object",
        "properties": {"predictions": {"type": "array"}, "outputs": {}},
        "oneOf": [{"required": ["predictions"]}, {"required": ["outputs"]}],
    },
    "ExamplesRequest": {
        "type": "object",
        "properties": {
            "signature_name": {"type": "string"},
            "context": {"$ref": "#/components/schemas/Example"},
            "examples": {
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/components/schemas/Example"},
            },
        },
        "required": ["examples"],
    },
    "Example": {"description": "Feature name to a value or a list of them.", "type": "object"},
    "ExamplesResponse": {
        "description": "classify: [label, score] pairs for each example; regress: a value each.",
        "type": "object",
        "properties": {"results": {"type": "array"}},
        "required": ["results"],
    },
    "ModelStatus": {
        "type": "object",
        "properties": {
            "model_version_status": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "version": {"type": "string"},
                        "state": {
                            "enum": [
                                "UNKNOWN",
                                "START",
                                "LOADING",
                                "AVAILABLE",
                                "UNLOADING",
                                "END",
                            ]
                        },
                        "status": {
                            "type": "object",
                            "properties": {
                                "error_code": {"type": "string"},
                                "error_message": {"type": "string"},
                            },
                        },
                    },
                },
            }
        },
    },
    "Any": {"type": "object"},
}
# Operation to the schemas of its request and its answer.
_POSTS = {
    "predict": ("PredictRequest", "PredictResponse"),
    "classify": ("ExamplesRequest", "ExamplesResponse"),
    "regress": ("ExamplesRequest", "ExamplesResponse"),
}


def openapi_document(core: ServerCore) -> bytes:
    """The document, as JSON: the paths for any model, and `:predict` of each model with the inputs
    of its signatures."""
    paths: dict[str, Any] = {
        "/healthz": {"get": _operation("healthz", "The process lives.", "Any")},
        "/readyz": {"get": _operation("readyz", "Every model has a version to answer.", "Any")},
        "/v1/models": {"get": _operation("list", "Every model, with its versions.", "Any")},
    }
    for suffix, extra in _VERSION_PATHS.items():
        parameters: list[tuple[str, dict[str, Any]]] = [("model", {"type": "string"}), *extra]
        base, by = f"/v1/models/{{model}}{suffix}", "".join(name.title() for name, _ in extra)
        paths[base] = {"get": _operation(f"status{by}", "State.", "ModelStatus", parameters)}
        paths[f"{base}/metadata"] = {
            "get": _operation(f"metadata{by}", "Signatures.", "Any", parameters)
        }
        for name, (request, response) in _POSTS.items():
            paths[f"{base}:{name}"] = {
                "post": _operation(
                    f"{name}{by}", f"Runs {name}.", response, parameters, _reference(request)
                )
            }
    schemas = dict(_SCHEMAS)
    for model in core.names():
        schema = _predict_schema(core, model)
        if schema is not None:
            key = f"PredictRequest.{quote(model, safe='').replace('%', '_').replace('~', '-')}"
            schemas[key] = schema
            paths[f"/v1/models/{quote(model, safe='')}:predict"] = {
                "post": _operation(
                    f"predict {model}",
                    f"Runs a signature of {model}.",
                    "PredictResponse",
                    body=_reference(key),
                )
            }
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Model server",
            "version": importlib.metadata.version("tfx-assay"),
            "description": "TensorFlow Serving's REST API. Beyond JSON, numbers may be NaN, "
            "Infinity and -Infinity.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return json.dumps(document, indent=1).encode()


def _operation(
    operation: str,
    summary: str,
    response: str,
    parameters: list[tuple[str, dict[str, Any]]] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation,
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": _json(_reference(response))},
            "default": {"description": "An error.", "content": _json(_reference("Error"))},
        },
    }
    if parameters:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in parameters
        ]
    if body:
        described["requestBody"] = {"required": True, "content": _json(body)}
    return described


def _predict_schema(core: ServerCore, model: str) -> dict[str, Any] | None:
    """One alternative for each signature; None if the model does not answer now."""
    try:
        with core.lease(model) as (_, loaded):
            signatures = dict(loaded.signatures)
    except RequestError:
        return None
    return {
        "anyOf": [
            _signature_schema(name, signature)
            for name, signature in sorted(signatures.items())
            if signature.inputs
        ]
        or [_reference("PredictRequest")]
    }


def _signature_schema(name: str, signature: Any) -> dict[str, Any]:
    rows, columns = (
        _inputs_schema(
            {alias: _tensor_schema(info, skipped) for alias, info in signature.inputs.items()}
        )
        for skipped in (1, 0)
    )
    required = [] if name == "serving_default" else ["signature_name"]
    return {
        "title": name,
        "type": "object",
        "properties": {
            "signature_name": {"const": name},
            "instances": {"type": "array", "minItems": 1, "items": rows},
            "inputs": columns,
        },
        "required": required,
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    }


def _inputs_schema(properties: dict[str, Any]) -> dict[str, Any]:
    named = {"type": "object", "properties": properties, "required": sorted(properties)}
    if len(properties) > 1:
        return named
    return {"anyOf": [named, *properties.values()]}


def _tensor_schema(info: Any, skipped: int) -> dict[str, Any]:
    """A tensor as nested lists, without its first `skipped` dimensions."""
    if info.tensor_shape.unknown_rank:
        return {}
    schema = _LEAVES.get(info.dtype, {})
    for dimension in reversed(info.tensor_shape.dim[skipped:]):
        schema = {"type": "array", "items": schema}
        if dimension.size >= 0:
            schema |= {"minItems": dimension.size, "maxItems": dimension.size}
    return schema


def _reference(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
