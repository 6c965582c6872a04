"""tensorflow.ProfilerService: a trace of this process for TensorBoard (profiler_service_impl.cc).

The protocol's messages come without Python classes, so their fields are read by number
(profiler_service.proto).
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

import tensorflow as tf
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from tensorflow.tsl.profiler.protobuf.profiler_options_pb2 import ProfileOptions
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

from serving.server.calls import Call, Handler
from serving.server.status import Code, RequestError, invalid_argument

_EMPTY_TRACE = b"\x38\x01"  # ProfileResponse with `empty_trace` (7)


def profiler_handlers() -> dict[str, Handler]:
    """Full method name to its handler, as `handlers.build_handlers`.

    Who asks chooses the folder that the server writes the trace to, as in TensorFlow Serving.
    """
    running: dict[str, threading.Event] = {}

    def profile(data: bytes, call: Call) -> bytes:
        options, root, session, host = _fields(data, 4, 5, 6, 7)
        try:
            duration_s = ProfileOptions.FromString(options).duration_ms / 1000
            target = Path(root.decode(), session.decode(), f"{host.decode()}.xplane.pb")
        except (DecodeError, ValueError):
            raise _malformed() from None
        if call.deadline_s is not None:
            duration_s = min(duration_s, call.deadline_s - time.monotonic())
        with tempfile.TemporaryDirectory() as folder:
            try:
                tf.profiler.experimental.start(folder)
                stop = running[session.decode()] = threading.Event()
                try:
                    stop.wait(max(0.0, duration_s))
                finally:
                    del running[session.decode()]
                    tf.profiler.experimental.stop()
                [trace] = Path(folder).rglob("*.xplane.pb")
                planes = XSpace.FromString(trace.read_bytes()).planes
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(trace, target.with_name(target.name.replace(":", "_")))
            except (tf.errors.OpError, OSError, ValueError) as error:
                # Another trace runs; the folder cannot be written.
                message = error.message if isinstance(error, tf.errors.OpError) else str(error)
                raise RequestError(Code.INTERNAL, message) from error
        return b"" if any(plane.lines for plane in planes) else _EMPTY_TRACE

    def terminate(data: bytes, call: Call) -> bytes:
        [session] = _fields(data, 1)
        stop = running.get(session.decode(errors="replace"))
        if stop is not None:
            stop.set()
        return b""

    def monitor(data: bytes, call: Call) -> bytes:
        raise RequestError(Code.UNIMPLEMENTED, "unimplemented.")

    service = "/tensorflow.ProfilerService/"
    methods = {"Profile": profile, "Terminate": terminate, "Monitor": monitor}
    return {service + name: method for name, method in methods.items()}


def _fields(data: bytes, *numbers: int) -> list[bytes]:
    """Strings and messages in a request, by field number."""
    try:
        found = {each.field_number: each.data for each in UnknownFieldSet(Empty.FromString(data))}
    except DecodeError:
        raise _malformed() from None
    values = [found.get(number, b"") for number in numbers]
    if not all(isinstance(value, bytes) for value in values):
        raise _malformed()
    return values


def _malformed() -> RequestError:
    return invalid_argument("the request is no valid message of tensorflow.ProfilerService")
