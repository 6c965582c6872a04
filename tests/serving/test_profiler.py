"""ProfilerService, asked by TensorFlow's own client, on both fronts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow.python.profiler import profiler_v2
from tensorflow.tsl.profiler.protobuf.profiler_options_pb2 import ProfileOptions
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

from serving.server.grpc_front import start_grpc
from serving.server.h2_front import start_h2
from serving.server.profiler import profiler_handlers

SERVICE = "/tensorflow.ProfilerService/"


@pytest.fixture(params=["grpcio", "h2"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "h2":
        server = start_h2(profiler_handlers(), port=0, threads=4, address="127.0.0.1")
        port = server.port
    else:
        server, port = start_grpc(profiler_handlers(), 0, 4, "127.0.0.1")
    yield f"localhost:{port}"
    server.stop(0)


@pytest.fixture
def busy() -> Iterator[None]:
    """TensorFlow has something to do, or the trace would be empty."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.005):
            tf.matmul(tf.ones((8, 8)), tf.ones((8, 8)))

    thread = threading.Thread(target=work)
    thread.start()
    yield
    done.set()
    thread.join()


def strings(**numbered: bytes) -> bytes:
    """A message: `f4=b"..."` is field 4."""
    parts = [(int(name[1:]), value) for name, value in numbered.items()]
    return b"".join(bytes([number << 3 | 2, len(value)]) + value for number, value in parts)


def asked(root: Path, duration_ms: int) -> bytes:
    options = ProfileOptions(duration_ms=duration_ms).SerializeToString()
    return strings(f4=options, f5=str(root).encode(), f6=b"now", f7=b"host:1")


def failure(channel: grpc.Channel, method: str, data: bytes) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(SERVICE + method)(data, timeout=20)
    return caught.value.code().name, caught.value.details()


def test_tensorflows_client_gets_a_trace(address: str, busy: None, tmp_path: Path) -> None:
    tf.profiler.experimental.client.trace(f"grpc://{address}", str(tmp_path), 500)
    [file] = tmp_path.rglob("*.xplane.pb")
    assert file.name == f"{address.replace(':', '_')}.xplane.pb"
    events = {
        each.name
        for plane in XSpace.FromString(file.read_bytes()).planes
        for each in plane.event_metadata.values()
    }
    assert any("MatMul" in event for event in events)


def test_terminate_ends_a_trace_and_a_second_one_is_refused(address: str, tmp_path: Path) -> None:
    with grpc.insecure_channel(address) as channel:
        profile = channel.unary_unary(SERVICE + "Profile")
        long = profile.future(asked(tmp_path, 60_000), timeout=30)
        deadline = time.monotonic() + 20
        while profiler_v2._profiler is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        refused = failure(channel, "Profile", asked(tmp_path / "2", 0))
        assert refused == ("INTERNAL", "Another profiler is running.")
        channel.unary_unary(SERVICE + "Terminate")(strings(f1=b"now"), timeout=20)
        assert long.result() in (b"", b"\x38\x01")
    assert (tmp_path / "now" / "host_1.xplane.pb").is_file()


def test_refused(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with grpc.insecure_channel(address) as channel:
        assert failure(channel, "Monitor", b"") == ("UNIMPLEMENTED", "unimplemented.")
        assert failure(channel, "Profile", asked(tmp_path / "file", 0))[0] == "INTERNAL"
        for data in (b"\xff", b"\x20\x01", strings(f4=b"\xff"), strings(f5=b"\xff")):
            assert failure(channel, "Profile", data)[0] == "INVALID_ARGUMENT"
        channel.unary_unary(SERVICE + "Terminate")(strings(f1=b"none"), timeout=20)
