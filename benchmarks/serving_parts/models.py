"""The models of `serving.py`, its requests, and the model called in the process that holds it.

    python benchmarks/serving_parts/models.py make FOLDER
    python benchmarks/serving_parts/models.py call FOLDER SECONDS

A process of its own, so that the benchmark itself imports no TensorFlow.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from payloads import write_payloads
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest

FEATURES = 32
DISTINCT = 256
RELOADS = 50
ROWS = 32


def main() -> None:
    command, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    if command == "make":
        make(folder)
    else:
        json.dump(call(folder, float(sys.argv[3])), sys.stdout)


def make(folder: Path) -> None:
    """Writes `mlp/1`, `large/1`, the requests of each measurement and the first one's answer."""
    tf.random.set_seed(1)
    save_mlp(folder / "mlp" / "1", (FEATURES, 64, 64, 1))
    side = 1581  # 2.5 million weights of 4 bytes: 10 MB
    save_mlp(folder / "large" / "1", (side, side, 1))
    rows = np.random.default_rng(1).standard_normal((DISTINCT, 1, FEATURES)).astype(np.float32)
    np.save(folder / "rows.npy", rows)
    answer = tf.saved_model.load(str(folder / "mlp" / "1")).signatures["serving_default"]
    np.save(folder / "answer.npy", answer(x=tf.constant(rows[0]))["y"].numpy())
    write_payloads(folder / "predict.bin", [predict_request(row) for row in rows])
    write_payloads(folder / "empty.bin", [b""])
    large = np.ones((1, side), np.float32)
    write_payloads(folder / "large.bin", [predict_request(large)])
    reloads = []
    for version in range(1, RELOADS + 2):
        request = ReloadConfigRequest()
        config = request.config.model_config_list.config.add(
            name="mlp", base_path=str(folder / "large"), model_platform="tensorflow"
        )
        config.model_version_policy.specific.versions.append(version)
        reloads.append(request.SerializeToString())
    write_payloads(folder / "reload.bin", reloads)


def save_mlp(path: Path, sizes: tuple[int, ...]) -> None:
    """A dense network with ReLU between its layers; input `x` (rows, sizes[0]), output `y`."""
    kernels = [
        tf.Variable(tf.random.normal((n, m), stddev=n**-0.5)) for n, m in itertools.pairwise(sizes)
    ]
    biases = [tf.Variable(tf.zeros(m)) for m in sizes[1:]]

    @tf.function(input_signature=[tf.TensorSpec([None, sizes[0]], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
            x = tf.nn.relu(tf.matmul(x, kernel) + bias)
        return {"y": tf.matmul(x, kernels[-1]) + biases[-1]}

    module = tf.Module()
    module.variables_of_model = (kernels, biases)
    module.serve = serve
    tf.saved_model.save(module, str(path), signatures=serve)


def predict_request(rows: np.ndarray[Any, Any]) -> bytes:
    """A PredictRequest as TensorFlow Serving's own examples write it."""
    request = PredictRequest()
    request.model_spec.name = "mlp"
    request.model_spec.signature_name = "serving_default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(rows))
    return bytes(request.SerializeToString())


def call(folder: Path, seconds: float) -> dict[str, Any]:
    """Calls the server's model and its Predict handler in this process, in one thread.

    Returns:
        Calls a second with one row; rows a second with `ROWS` at a time; the handler's calls a
        second, bytes in and bytes out; and CPU µs of each of the two.
    """
    from serving.server import saved_model
    from serving.server.calls import Call
    from serving.server.core import ServerCore, single_model
    from serving.server.predict import predict

    model = saved_model.load(folder / "mlp" / "1")
    rows = np.load(folder / "rows.npy")
    batch = np.concatenate(rows[:ROWS])
    one, one_us = rate(
        lambda n: model.run("serving_default", {"x": rows[n % DISTINCT]}, ["y"]), seconds
    )
    many, _ = rate(lambda _: model.run("serving_default", {"x": batch}, ["y"]), seconds)
    core = ServerCore(lambda _, path: saved_model.load(path))
    core.configure(single_model("mlp", str(folder / "mlp")))
    requests = [predict_request(row) for row in rows]
    handled, handled_us = rate(lambda n: predict(core, requests[n % DISTINCT], Call()), seconds)
    core.close()
    return {
        "per_second": one,
        "us_a_call": one_us,
        "rows_per_second": many * ROWS,
        "handler_per_second": handled,
        "handler_us_a_call": handled_us,
    }


def rate(function: Callable[[int], object], seconds: float) -> tuple[float, float]:
    """Calls a second, and CPU µs of each."""
    for number in range(200):
        function(number)
    cpu, started, number = time.process_time(), time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in range(50):
            function(number)
            number += 1
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    return number / elapsed, cpu / number * 1e6


if __name__ == "__main__":
    main()
