"""Where models run behind the h2 front: short ones on its event loop, others in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from serving.client.messages import PredictRequest, PredictResponse
from serving.server.batch_threads import BatchThreads
from serving.server.batching import BatchedModel
from serving.server.batching_parameters import BatchingParameters
from serving.server.h2_front import H2Server, start_h2
from serving.server.handlers import build_handlers
from serving.server.hooks import HookedModel
from serving.server.metrics import Metrics
from serving.server.observe import TimedModel, observed
from serving.server.saved_model import SavedModel
from serving.tensors import to_array, write_tensor

PREDICT = "/tensorflow.serving.PredictionService/Predict"
LOOP = "h2-front"
PARAMETERS = BatchingParameters(num_batch_threads=2, max_batch_size=100_000)


class Watched:
    """A model that notes the thread of each run, and takes as long as it is told."""

    def __init__(self, model: Any) -> None:
        self.signatures = model.signatures
        self.threads: list[str] = []
        self.sizes: list[int] = []
        self.takes_s = 0.0
        self._model = model

    def run(self, signature: str, inputs: Any, outputs: Any) -> Any:
        self.threads.append(threading.current_thread().name)
        self.sizes.append(len(inputs["x"]))
        if self.takes_s:
            time.sleep(self.takes_s)
        return self._model.run(signature, inputs, outputs)

    def close(self) -> None: ...


Serve = Callable[..., tuple[H2Server, Watched, list[str]]]


@pytest.fixture(params=["batched", "one by one"])
def serve(
    request: pytest.FixtureRequest, numeric: SavedModel, one_model_core: Callable[..., Any]
) -> Iterator[Serve]:
    servers: list[H2Server] = []
    threads = BatchThreads(PARAMETERS)

    def serve(*, hook: bool = False) -> tuple[H2Server, Watched, list[str]]:
        watched = Watched(numeric)
        model = HookedModel(watched, "m", lambda *a: a[2], None) if hook else watched
        timed = TimedModel(model, "m", Metrics(), on_loop=not hook)
        held: Any = timed
        if request.param == "batched":
            held = BatchedModel(timed, PARAMETERS, threads, on_loop=not hook)
        recorded: list[str] = []
        core = one_model_core(held)
        core.available = lambda: True
        handlers = observed(
            build_handlers(core, health=True),
            lambda call, api, started, error: recorded.append(repr(error)),
        )
        servers.append(start_h2(handlers, port=0, threads=4, address="127.0.0.1"))
        return servers[-1], watched, recorded

    yield serve
    for server in servers:
        server.stop(grace_s=5)
    threads.close()


def request(*rows: float) -> bytes:
    message = PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "m", "double"
    write_tensor(message.inputs["x"], np.array(rows, np.float32))
    return bytes(message.SerializeToString())


def ask(server: H2Server, *rows: float, times: int = 1) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        predict = channel.unary_unary(PREDICT)
        for _ in range(times):
            answer = PredictResponse.FromString(predict(request(*rows), timeout=20))
            assert to_array(answer.outputs["y"]).tolist() == [2 * row for row in rows]


def test_a_short_model_comes_to_run_on_the_loop_and_leaves_it(serve: Serve) -> None:
    server, watched, recorded = serve()
    ask(server, 1.0, 2.0, times=100)
    assert LOOP not in watched.threads[:16]
    assert watched.threads[-1] == LOOP
    watched.takes_s = 0.005
    ask(server, 1.0, times=40)
    assert LOOP not in watched.threads[-10:]
    assert recorded == ["None"] * 140  # once each, wherever they ran


def test_a_long_model_holds_up_nobody(serve: Serve) -> None:
    server, watched, _ = serve()
    watched.takes_s = 0.05
    ask(server, 1.0, times=20)
    watched.takes_s = 3.0
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, server, 1.0)
        while len(watched.threads) < 21:
            time.sleep(0.005)
        channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        with channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/none")(b"", timeout=2)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        slow.result()
    assert LOOP not in watched.threads


def test_a_model_with_hooks_is_never_run_on_the_loop(serve: Serve) -> None:
    server, watched, _ = serve(hook=True)
    ask(server, 1.0, times=50)
    assert LOOP not in watched.threads


def test_a_large_request_is_not_read_on_the_loop(serve: Serve) -> None:
    server, watched, _ = serve()
    ask(server, 1.0, times=100)
    assert watched.threads[-1] == LOOP
    ask(server, *range(20_000))
    assert watched.sizes[-1] == 20_000
    assert watched.threads[-1] != LOOP


def test_what_is_refused_on_the_loop_is_told_and_counted(serve: Serve) -> None:
    server, watched, recorded = serve()
    ask(server, 1.0, times=100)
    wrong = PredictRequest.FromString(request())
    wrong.inputs["x"].Clear()
    write_tensor(wrong.inputs["x"], np.array([1], np.int64))
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    with channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(PREDICT)(wrong.SerializeToString(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Expects arg[0] to be float but int64 is provided"
    assert watched.threads[-1] == LOOP
    assert len(recorded) == 101
    assert "Expects arg[0]" in recorded[-1]


def test_the_loop_answers_while_many_come_at_once(serve: Serve) -> None:
    server, watched, _ = serve()
    ask(server, 1.0, times=100)
    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(ask, server, float(n), times=25) for n in range(16)]:
            done.result()
    assert sum(watched.sizes) == 500
    assert LOOP in watched.threads[-50:]


def test_probes_do_not_wait_for_busy_threads(serve: Serve) -> None:
    server, watched, _ = serve()
    watched.takes_s = 2.0
    with ThreadPoolExecutor(6) as pool:  # of 4 threads, and 2 for batches
        slow = [pool.submit(ask, server, float(n)) for n in range(6)]
        while not watched.threads:
            time.sleep(0.005)
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            started = time.monotonic()
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
            assert time.monotonic() - started < 1.5
        for done in slow:
            done.result()
