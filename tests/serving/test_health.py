"""grpc.health.v1.Health on both fronts; what it says is of default_health_check_service.cc."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from serving.server.core import ServerCore, single_model
from serving.server.grpc_front import start_grpc
from serving.server.h2_front import start_h2
from serving.server.health import health_handlers

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


class Model:
    """A model that is never asked."""

    def __init__(self) -> None:
        self.signatures: dict[str, Any] = {}

    def close(self) -> None:
        pass


def push(base: Path) -> None:
    (base / "1").mkdir(parents=True)
    (base / "1" / "saved_model.pb").write_bytes(b"")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "m"


@pytest.fixture
def core(base: Path) -> Iterator[ServerCore]:
    core = ServerCore(lambda name, path: Model())
    core.configure(single_model("m", str(base)), wait=False)
    yield core
    core.close()


@pytest.fixture(params=["grpcio", "h2"])
def channel(request: pytest.FixtureRequest, core: ServerCore) -> Iterator[grpc.Channel]:
    handlers = health_handlers(core)
    if request.param == "h2":
        server = start_h2(handlers, port=0, threads=2, address="127.0.0.1")
        port = server.port
    else:
        server, port = start_grpc(handlers, 0, 2, "127.0.0.1")
    option = ("grpc.use_local_subchannel_pool", 1)
    with grpc.insecure_channel(f"127.0.0.1:{port}", [option]) as channel:
        yield channel
    server.stop(0)


def asked(service: str) -> bytes:
    return bytes(StringValue(value=service).SerializeToString())


def status(answer: bytes) -> int:
    return Int32Value.FromString(answer).value


def check(channel: grpc.Channel, service: str = "") -> int:
    return status(channel.unary_unary(CHECK)(asked(service), timeout=20))


def watch(channel: grpc.Channel, service: str = "") -> Any:
    return channel.unary_stream(WATCH)(asked(service), timeout=20)


SERVICES = ["", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"]


@pytest.mark.parametrize("service", SERVICES)
def test_each_change_is_told(
    channel: grpc.Channel, core: ServerCore, base: Path, service: str
) -> None:
    changes = watch(channel, service)
    assert status(next(changes)) == check(channel, service) == NOT_SERVING
    push(base)
    core.poll()
    assert status(next(changes)) == check(channel, service) == SERVING
    shutil.rmtree(base / "1")
    core.poll()
    assert status(next(changes)) == check(channel, service) == NOT_SERVING


def test_a_service_nobody_knows(channel: grpc.Channel) -> None:
    assert status(next(watch(channel, "none.Such"))) == SERVICE_UNKNOWN
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, "none.Such")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "service name unknown"


@pytest.mark.parametrize(("method", "code"), [(CHECK, "INVALID_ARGUMENT"), (WATCH, "INTERNAL")])
def test_requests_that_are_none(channel: grpc.Channel, method: str, code: str) -> None:
    call = channel.unary_stream(method)(b"\xff\xff", timeout=20)
    with pytest.raises(grpc.RpcError):
        next(call)
    assert (call.code().name, call.details()) == (code, "could not parse request")


def test_a_drain_is_told_and_ends_the_streams(
    channel: grpc.Channel, core: ServerCore, base: Path
) -> None:
    push(base)
    core.poll()
    watchers = [watch(channel) for _ in range(20)]  # more than there are threads
    assert [status(next(changes)) for changes in watchers] == [SERVING] * 20
    core.drain()
    for changes in watchers:
        assert status(next(changes)) == NOT_SERVING
        with pytest.raises(grpc.RpcError):
            next(changes)
        assert changes.code() is grpc.StatusCode.CANCELLED
    assert check(channel) == NOT_SERVING


def test_who_has_left_is_forgotten(
    channel: grpc.Channel, core: ServerCore, base: Path, caplog
) -> None:
    left, stays = watch(channel), watch(channel)
    assert status(next(left)) == status(next(stays)) == NOT_SERVING
    left.cancel()
    push(base)
    core.poll()
    assert status(next(stays)) == SERVING
    assert "could not be told" not in caplog.text
