"""grpc.reflection.v1alpha over transports that know only handlers."""

from __future__ import annotations

from collections.abc import Iterable

from grpc_reflection.v1alpha.reflection import SERVICE_NAME, ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from serving.server.calls import Call, Handler


def reflection_handlers(methods: Iterable[str]) -> dict[str, Handler]:
    """The handler of ServerReflectionInfo: each message of its stream is answered by one.

    Args:
        methods: Full names of the methods that the server answers.
    """
    services = sorted({method.split("/")[1] for method in methods} | {SERVICE_NAME})
    servicer = ReflectionServicer(services)

    def answer(data: bytes, call: Call) -> bytes:
        request = ServerReflectionRequest.FromString(data)
        [response] = servicer.ServerReflectionInfo(iter([request]), None)
        return bytes(response.SerializeToString())

    answer.each_message = True  # type: ignore[attr-defined]
    return {f"/{SERVICE_NAME}/ServerReflectionInfo": answer}
