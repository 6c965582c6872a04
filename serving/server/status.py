"""The one error that a request handler raises: a canonical status code and its message."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Canonical status codes, the same numbers in gRPC, absl and TensorFlow."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RequestError(Exception):
    """Raise when a request, or a load, ends in a status other than OK.

    The transport answers with the code and the message; the server goes on.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_argument(message: str) -> RequestError:
    """A `RequestError` that says the request is wrong in itself."""
    return RequestError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> RequestError:
    """A `RequestError` that says the model or version asked for is not served."""
    return RequestError(Code.NOT_FOUND, message)
