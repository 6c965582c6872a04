"""grpc.health.v1.Health, as grpc's default_health_check_service.cc answers it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from serving.server.answers import Answer
from serving.server.calls import Call, Handler
from serving.server.core import ServerCore
from serving.server.status import Code, RequestError, not_found

logger = logging.getLogger("assay.serving")

_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3  # HealthCheckResponse.ServingStatus
_LOOK_S = 0.1


def health_handlers(core: ServerCore) -> dict[str, Handler]:
    """Full method name to its handler, as `handlers.build_handlers`.

    A service is SERVING once every model has a version that answers, and no more when the server
    drains.
    """
    health = _Health(core)

    def watch(data: bytes, call: Call) -> Answer[bytes]:
        return health.watch(data, call)

    def check(data: bytes, call: Call) -> bytes:
        return health.check(data, call)

    watch.streams = True  # type: ignore[attr-defined]
    check.inline = True  # type: ignore[attr-defined]  # a probe must not wait for busy threads
    return {"/grpc.health.v1.Health/Check": check, "/grpc.health.v1.Health/Watch": watch}


@dataclass
class _Watcher:
    """Who watches which service, and what it was told last (0: nothing yet)."""

    service: str
    send: Callable[[bytes], None]
    told: int = 0


class _Health:
    """Tells each watcher its first status at once, and then each change, from one thread.

    The thread looks ten times a second, and lives only while somebody watches.
    """

    def __init__(self, core: ServerCore) -> None:
        self._core = core
        self._watchers: dict[Answer[bytes], _Watcher] = {}
        self._changed = threading.Condition()
        self._looking = False

    def check(self, data: bytes, call: Call) -> bytes:
        status = self._status(_service(data, Code.INVALID_ARGUMENT))
        if status == _SERVICE_UNKNOWN:
            raise not_found("service name unknown")
        return _response(status)

    def watch(self, data: bytes, call: Call) -> Answer[bytes]:
        service = _service(data, Code.INTERNAL)
        assert call.send is not None
        stream: Answer[bytes] = Answer()
        stream.add_done_callback(self._forget)
        with self._changed:
            self._watchers[stream] = _Watcher(service, call.send)
            if not self._looking:
                self._looking = True
                threading.Thread(target=self._look, name="health", daemon=True).start()
            self._changed.notify()
        return stream

    def _status(self, service: str) -> int:
        if service not in _SERVICES:
            return _SERVICE_UNKNOWN
        return _SERVING if self._core.available() else _NOT_SERVING

    def _look(self) -> None:
        while True:
            with self._changed:
                if not self._watchers:
                    self._looking = False
                    return
                watchers = list(self._watchers.items())
            draining = self._core.draining  # first: nobody may be left with an older status
            for stream, watcher in watchers:
                try:
                    self._tell(stream, watcher, draining)
                except Exception:  # one watcher's trouble is no other's
                    logger.exception("a watcher of the server's health could not be told")
                    stream.cancel()
            with self._changed:
                if all(watcher.told for watcher in self._watchers.values()):
                    self._changed.wait(_LOOK_S)

    def _tell(self, stream: Answer[bytes], watcher: _Watcher, draining: bool) -> None:
        status = self._status(watcher.service)
        if status != watcher.told:
            watcher.told = status
            watcher.send(_response(status))
        if draining:  # or it would hold up the end
            stream.set_exception(RequestError(Code.CANCELLED, "not writing due to shutdown"))

    def _forget(self, stream: Answer[bytes]) -> None:
        with self._changed:
            self._watchers.pop(stream, None)


# The two messages have one field each, so the well-known wrappers read and write them: a string
# and an enum, both with number 1.


def _service(data: bytes, code: Code) -> str:
    try:
        return str(StringValue.FromString(data).value)
    except DecodeError:
        raise RequestError(code, "could not parse request") from None


def _response(status: int) -> bytes:
    return bytes(Int32Value(value=status).SerializeToString())
