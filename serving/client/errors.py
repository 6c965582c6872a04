"""The error of a request that a model server refused, or that never reached one."""

from __future__ import annotations

from tfx_pipeline.errors import ServingError


class RequestFailed(ServingError):
    """Raised when a request ends in a status other than OK.

    Attributes:
        code: The gRPC status, for instance `NOT_FOUND`; over REST, the one that the HTTP status
            stands for.
        message: The server's (or the transport's) message, unchanged.
    """

    code: str = "UNKNOWN"
    message: str = ""

    def __reduce__(self) -> tuple[object, ...]:
        return request_failed, (self.code, self.message, self.where, self.hint)


def request_failed(code: str, message: str, where: str, hint: str = "") -> RequestFailed:
    """The error of one request.

    Args:
        code: Name of the gRPC status.
        message: What the server or the transport said.
        where: The server's address.
        hint: What to do next.
    """
    failure = RequestFailed(f"{code}: {message}", where=where, hint=hint)
    failure.code, failure.message = code, message
    return failure


def hint_for(code: str, message: str, *, address: str, model_name: str, timeout_s: float) -> str:
    """What to do about a status, in one or two sentences.

    Args:
        code: Name of the gRPC status.
        message: What the server or the transport said.
        address: The server's address, `host:port`.
        model_name: The model that was asked for.
        timeout_s: The request's limit in seconds.
    """
    for part, hint in _TRANSPORT_HINTS:
        if part in message:
            return hint
    if code == "UNAVAILABLE":
        port = address.rpartition(":")[2]
        return (
            "Is the server running? Start it with "
            f"`assay serve FOLDER --model-name {model_name or 'NAME'} --port {port}`."
        )
    if code == "DEADLINE_EXCEEDED":
        return f"The limit is {timeout_s:g} s; raise it with timeout_s (--timeout)."
    if code == "NOT_FOUND":
        return "Check the model's name and version; the server's log says what it serves."
    if code == "RESOURCE_EXHAUSTED":
        return "Send fewer rows at once with batch_size (--batch-size), or try again later."
    if code == "UNIMPLEMENTED":
        return "The endpoint has no such method: an older server, or none of TensorFlow Serving."
    if "Data types don't match" in message:
        return "Set the kind of that column: --kinds column=float (kinds={...} in Python)."
    return "Compare the request with the model's signatures, Client(...).metadata(name)."


_TLS_NEEDED = (
    "The port speaks TLS: give tls=Tls() with the server's root certificate (--tls-ca ca.pem)."
)
_NO_TLS = "The port speaks no TLS: leave tls (--tls, --tls-ca, https://) out."
_IS_REST = "That is an HTTP port, such as TensorFlow Serving's REST API: use RestClient (--rest)."
_IS_GRPC = "That is a gRPC port: use Client, or `host:port` without http://."
# Parts of the messages of gRPC's core and of OpenSSL.
_TRANSPORT_HINTS = (
    ("WRONG_VERSION_NUMBER", _NO_TLS),
    ("CERTIFICATE_VERIFY_FAILED", "Name the authority that signed the server's certificate: "
     "Tls(root_certificates=...) (--tls-ca); by another host name: Tls(server_name=...)."),
    ("CERTIFICATE_REQUIRED", "The server asks for a client certificate: "
     "Tls(certificate=..., private_key=...) (--tls-cert, --tls-key)."),
    ("Trying to connect an http1.x server", _IS_REST),
    ("the answer is HTTP/2", _IS_GRPC),
    ("the answer is TLS", _TLS_NEEDED),
    ("larger than max", "Raise max_message_bytes, or send fewer rows at once with batch_size."),
)  # fmt: skip
