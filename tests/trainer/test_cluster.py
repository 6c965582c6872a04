"""Several workers on loopback: they meet in bounded time, and go on together after a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import EnvironmentMismatch
from trainer.cluster import Cluster, join
from trainer.config import ModelConfig, TrainConfig
from trainer.models.config import ResidualConfig

ROOT = Path(__file__).parents[2]


def free_addresses(count: int) -> list[str]:
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]


def test_a_worker_that_never_joins_is_named_within_the_bound() -> None:
    addresses = free_addresses(3)
    both = [Cluster({"chief": addresses[:1], "worker": addresses[1:]}, *own)
            for own in (("chief", 0), ("worker", 0))]  # fmt: skip
    failed: dict[str, str] = {}

    def waits(cluster: Cluster) -> None:
        try:
            join(cluster, 1)
        except EnvironmentMismatch as error:
            failed[cluster.own] = error.headline

    threads = [threading.Thread(target=waits, args=(cluster,)) for cluster in both]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 5
    # The two that came are not called missing.
    said = f"1 of 3 workers did not join within 1 s: worker 1 ({addresses[2]})"
    assert failed == {"chief 0": said, "worker 0": said}


def test_workers_that_start_one_after_the_other_meet() -> None:
    addresses = free_addresses(2)
    first, second = (Cluster({"worker": addresses}, "worker", index) for index in (0, 1))
    thread = threading.Thread(target=join, args=(first, 20))
    thread.start()
    time.sleep(0.5)
    join(second, 20)
    thread.join(5)
    assert not thread.is_alive()


def test_an_address_that_another_process_has() -> None:
    with socket.create_server(("", 0)) as taken:
        here = f"127.0.0.1:{taken.getsockname()[1]}"
        cluster = Cluster({"worker": [here, *free_addresses(1)]}, "worker", 0)
        with pytest.raises(EnvironmentMismatch, match=f"cannot listen on its own address {here}"):
            join(cluster, 1)


def test_an_address_without_a_port() -> None:
    with pytest.raises(EnvironmentMismatch, match="'host' in TF_CONFIG is not host:port"):
        join(Cluster({"worker": ["127.0.0.1:1", "host"]}, "worker", 1), 1)


WORKER = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
import tf_keras
from tfx_pipeline.errors import AssayError
from trainer import fit, run, strategy
from trainer.config import ModelConfig, TrainConfig
from trainer.models.config import ResidualConfig
from trainer.input import Held, Split
from trainer.models.build import LabelScale, build
from trainer.progress import Ended, Resumed, listen
from transform.config import LabelConfig
from transform.layout import FeatureSpec
config = TrainConfig(
    steps=24, steps_per_epoch=6, batch_size=32, learning_rate=0.01, strategy="multi_worker"
)
label = LabelConfig(column="y", classes=["0", "1"])
rng = np.random.default_rng(1)
x = rng.normal(size=(100, 3)).astype(np.float32)
split = Split("train", (), [], {}, 100, Held({"x": x}, (x[:, :1] > 0.3).astype(np.int64)))
scope = strategy.make_strategy(config)

def train(folder, die_at):
    def heard(event):
        if die_at and event.step >= die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(event, Resumed | Ended):
            print(type(event).__name__, event.step, getattr(event, "loss", ""), flush=True)
    where = run.own_run_dir(folder, scope)
    with listen(heard), scope.scope(), strategy.watching_workers():
        tf_keras.utils.set_random_seed(3)
        model = build(
            [FeatureSpec("x", "dense", 3, (3,))],
            ModelConfig(hidden_units=[8], dropout=0.2),
            config,
            label,
            LabelScale(),
            Path(folder),
        )
        fit.compile_model(model, config, label, LabelScale())
        fit.fit(model, config, split, split, where, {})
    np.savez(f"{where}/weights", *model.get_weights())

try:
    for folder, die_at in json.loads(sys.argv[1]):
        train(folder, die_at)
except AssayError as error:
    print(type(error).__name__, error.headline, flush=True)
    os._exit(error.exit_code)
"""


RUN_FN = """
import json, sys
from types import SimpleNamespace
from trainer.run import run_fn
run_fn(SimpleNamespace(**json.loads(sys.argv[1])))
"""


def start(code: str, *given: Any) -> list[subprocess.Popen[str]]:
    """A worker for each that is given, which it reads as JSON."""
    addresses = free_addresses(len(given))
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(own)],
            cwd=ROOT,
            env=os.environ | {"TF_CONFIG": json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            )},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, own in enumerate(given)
    ]  # fmt: skip


def training(*trainings: tuple[Path, int]) -> list[subprocess.Popen[str]]:
    """Two workers that train into each folder in turn; the second dies at a step other than 0."""
    given = ([(str(folder), die_at * index) for folder, die_at in trainings] for index in (0, 1))
    return start(WORKER, *given)


def ended(workers: list[subprocess.Popen[str]]) -> list[tuple[int, list[str]]]:
    """Exit code and lines of each; those that hang are killed."""
    found = []
    try:
        for worker in workers:
            out, err = worker.communicate(timeout=200)
            print(out, err[-3000:])
            found.append((worker.returncode, out.splitlines()))
    finally:
        for worker in workers:
            worker.kill()
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_worker_killed_and_both_started_again(tmp_path: Path) -> None:
    """Ends with the loss and the weights of an undisturbed run on two workers."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    first, second = ended(training((undisturbed, 0), (killed, 15)))
    assert second[0] == -signal.SIGKILL
    assert first == (6, [*second[1], "WorkerLost another worker of the cluster is gone"])
    [whole] = second[1]
    assert whole.startswith("Ended 24 ")
    assert not (killed / "weights.npz").exists()

    first, second = ended(training((killed, 0)))
    assert first == second
    assert first[0] == 0
    [resumed, again] = first[1]
    assert resumed.startswith("Resumed 12 ")
    assert float(again.split()[2]) == pytest.approx(float(whole.split()[2]), abs=1e-6)
    for worker in (".", "worker-1"):
        one, two = (np.load(folder / worker / "weights.npz") for folder in (undisturbed, killed))
        assert len(one.files) == 4
        for name in one.files:
            np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_moments_of_batch_normalization_come_to_the_chief_alone(
    binary: Any, tmp_path: Path
) -> None:
    """Reading them takes all workers, and only the chief calibrates and exports."""
    import tensorflow as tf
    import tf_keras

    train = TrainConfig(
        steps=60,
        steps_per_epoch=30,
        batch_size=64,
        learning_rate=0.03,
        strategy="multi_worker",
        calibrate="platt",
        tensorboard=False,
    )
    residual = ResidualConfig(blocks=1, units=8)
    fn_args = binary.fn_args(tmp_path, ModelConfig(family="residual", residual=residual), train)
    ends = ended(start(RUN_FN, vars(fn_args), vars(fn_args)))
    assert [code for code, _ in ends] == [0, 0]

    served = tf.saved_model.load(fn_args.serving_model_dir).signatures["serving_default"]
    answers = served(tf.constant(binary.examples("eval", 200, label=False)))
    right = answers["class"].numpy().astype(str) == binary.raw["eval"]["sold"]
    assert np.mean(right) > 0.8
    model = tf_keras.models.load_model(f"{fn_args.model_run_dir}/keras_model.h5")
    variances = [w for w in model.weights if "moving_variance" in w.name]
    assert variances
    assert all((w.numpy() != 1).all() for w in variances)
