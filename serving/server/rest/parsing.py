"""Reads JSON, and words its faults as RapidJSON does (json_tensor.cc of tensorflow/serving)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

import numpy as np

from serving.server.rest.writing import decimals
from serving.server.status import RequestError, invalid_argument

_MAX_TEXT = 2000
"""Characters of a JSON value in an error message. The C++ server sends all of it, be it 100 MB."""

FLOAT32_MAX = float(np.finfo(np.float32).max)
_PRETTY = json.JSONEncoder(indent=4, ensure_ascii=False)
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_BLANKS = {ord(blank): None for blank in " \t\r\n"}
# The start of CPython's message to RapidJSON's (rapidjson/error/en.h).
_MESSAGES = {
    "Expecting value": "Invalid value.",
    "Expecting property name": "Missing a name for object member.",
    "Illegal trailing comma": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid control character": "Invalid encoding in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Invalid \\escape": "Invalid escape character in string.",
}


def parse_object(body: bytes) -> dict[str, Any]:
    """Reads a request's body, which must be one JSON object.

    Bytes that are no UTF-8 are kept, as lone surrogates: RapidJSON passes them on too.

    Raises:
        RequestError: INVALID_ARGUMENT: not JSON, or JSON of another kind.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    text = body.decode("utf-8-sig", "surrogateescape")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise _parse_error(text, error) from None
    except RecursionError:
        # RapidJSON goes on until the stack is full.
        raise invalid_argument("JSON Parse error: nested too deeply") from None
    except ValueError:  # CPython bounds the digits of an integer
        raise invalid_argument(
            "JSON Parse error: Number too big to be stored in double. at offset: 0"
        ) from None
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {value_text(document)} Is not object")
    return document


def signature_name(document: dict[str, Any]) -> str:
    """The request's `signature_name`; empty: none.

    Raises:
        RequestError: INVALID_ARGUMENT: it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {value_text(document)} not formatted correctly. 'signature_name' key "
            "must be a string value."
        )
    return name


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}`: bytes rather than an object."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def string_bytes(value: str | dict[str, Any]) -> bytes:
    """The bytes of a JSON string or of `{"b64": "..."}`.

    Raises:
        RequestError: INVALID_ARGUMENT: any other object, or text that is no base64.
    """
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise invalid_argument(
                "JSON Parse error: The surrogate pair in string is invalid."
            ) from None
    if not is_base64(value):
        raise invalid_argument(
            f"JSON Value: {value_text(value)} not formatted correctly for base64 data"
        )
    text = value["b64"].translate(_BLANKS)
    if "=" not in text:
        text += "=" * (-len(text) % 4)  # absl takes it with or without padding
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def value_text(value: Any) -> str:
    """A JSON value for an error message, indented as the C++ server writes it, shortened."""
    if isinstance(value, float):
        fits = abs(value) <= FLOAT32_MAX or value != value or abs(value) == float("inf")
        return decimals(np.asarray([value], np.float32 if fits else np.float64))[0]
    text = ""
    for part in _PRETTY.iterencode(value):  # lazily: the value may be large or deep
        text += part
        if len(text) > _MAX_TEXT:
            return text[:_MAX_TEXT] + "..."
    return text


def type_text(value: Any) -> str:
    """RapidJSON's name for a value's type."""
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names.get(type(value), "Null")


def _parse_error(text: str, error: json.JSONDecodeError) -> RequestError:
    if not text.strip(" \t\r\n"):
        message = "The document is empty."
    elif error.msg.startswith("Expecting ',' delimiter"):
        message = (
            "Missing a comma or } after an object member."
            if _innermost_bracket(text[: error.pos]) == "{"
            else "Missing a comma or ] after an array element."
        )
    else:
        message = next(
            (ours for theirs, ours in _MESSAGES.items() if error.msg.startswith(theirs)),
            "Unspecific syntax error.",
        )
    # Where RapidJSON stops: at an escape's backslash, and where a string that never ends does.
    end = error.pos - 1 if "uXXXX" in error.msg else error.pos
    end = len(text) if error.msg.startswith("Unterminated") else end
    offset = len(text[:end].encode("utf-8", "surrogateescape"))
    return invalid_argument(f"JSON Parse error: {message} at offset: {offset}")


def _innermost_bracket(text: str) -> str:
    opened: list[str] = []
    for match in _BRACKETS.finditer(text):
        token = match.group()
        if token in "[{":
            opened.append(token)
        elif token in "]}" and opened:
            opened.pop()
    return opened[-1] if opened else ""
