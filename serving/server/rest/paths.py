"""What a REST path asks for (http_rest_api_util.cc of tensorflow/serving)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from serving.server.status import invalid_argument

_MAX_VERSION = 2**63 - 1
_VERSION_OR_LABEL = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_FLAGS = re.IGNORECASE | re.ASCII
_POST = re.compile(rf"/v1/models/([^/:]+){_VERSION_OR_LABEL}:(classify|regress|predict)", _FLAGS)
_GET = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION_OR_LABEL}(?:/(metadata))?", _FLAGS)
_API = re.compile(r"/v1/.*", _FLAGS | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Target:
    """A model, and which of its versions. At most one of `version` and `label` is set."""

    name: str
    version: int | None = None
    label: str = ""

    def fill(self, spec: Any) -> None:
        """Writes itself into an empty `ModelSpec`."""
        spec.name = self.name
        if self.version is not None:
            spec.version.value = self.version
        if self.label:
            spec.version_label = self.label


@dataclass(frozen=True, slots=True)
class Request:
    """One operation on a model.

    Attributes:
        operation: `predict`, `classify`, `regress`, `status`, `metadata`, or `list` (all models;
            TensorFlow Serving refuses that one).
        target: The model; its name is empty for `list`.
    """

    operation: str
    target: Target


def is_api(path: str) -> bool:
    """Whether the path is the REST API's to answer, if only with an error."""
    return _API.fullmatch(path) is not None


def parse_path(method: str, path: str) -> Request:
    """Reads method and path (still percent-encoded, with the query).

    Raises:
        RequestError: INVALID_ARGUMENT: no operation has this method and path.
    """
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise invalid_argument(f"Malformed request: {method} {path}")
    name, version, label, last = match.groups()
    if version is not None and int(version) > _MAX_VERSION:
        raise invalid_argument(f"Failed to convert version: {version} to numeric.")
    target = Target(
        unquote(name or ""), None if version is None else int(version), unquote(label or "")
    )
    if method == "POST":
        # The pattern ignores case, what follows does not: so does the C++ server.
        if last not in ("classify", "regress", "predict"):
            raise invalid_argument(f"Malformed request: {method} {path}")
        return Request(last, target)
    if not target.name:
        if version is None and not label and last is None:
            return Request("list", target)
        raise invalid_argument("Missing model name in request.")
    return Request("metadata" if last == "metadata" else "status", target)
