"""Which strategy a config gets here, and what is said where the hardware is absent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import EnvironmentMismatch
from trainer.config import ModelConfig, TrainConfig
from trainer.strategy import configure_devices, is_chief, make_strategy

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["mirrored", "auto", "default"])
def test_one_device_needs_no_mirror(name: str) -> None:
    strategy = make_strategy(TrainConfig(strategy=name))
    assert strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)


def test_tpu_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(EnvironmentMismatch, match="names no TPU") as caught:
        make_strategy(TrainConfig(strategy="tpu"))
    assert "TPU_NAME" in caught.value.hint


def test_a_tpu_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPU_NAME", "local")
    with pytest.raises(EnvironmentMismatch, match="TPU 'local' cannot be used"):
        make_strategy(TrainConfig(strategy="tpu"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "TF_CONFIG is not set"),
        ("{cluster", "not what TensorFlow expects"),
        ('{"cluster": {}}', "not what TensorFlow expects"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 3}}',
            "task worker 3",
        ),
    ],
)
def test_multi_worker_says_what_tf_config_lacks(
    monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(EnvironmentMismatch, match=said) as caught:
        make_strategy(TrainConfig(strategy="multi_worker"))
    assert '"cluster"' in caught.value.hint


def test_too_late_to_split_the_cpu() -> None:
    import tensorflow as tf

    tf.constant(0.0)
    have = len(tf.config.list_logical_devices("CPU"))
    configure_devices(TrainConfig())  # Nothing is asked for: nothing to be late with.
    with pytest.raises(EnvironmentMismatch, match=f"asks for {have + 1} logical CPUs"):
        configure_devices(TrainConfig(logical_cpus=have + 1, batch_size=16 * (have + 1)))


RUN = """
import json, sys
from types import SimpleNamespace
from trainer.config import TrainConfig
from trainer.run import run_fn
given = json.load(open(sys.argv[1]))
run_fn(SimpleNamespace(**given))
import tensorflow as tf
print(len(tf.config.list_logical_devices("CPU")))
"""


@pytest.mark.slow
def test_two_replicas_train_like_one(binary: Any, tmp_path: Path) -> None:
    import tf_keras

    from trainer.run import run_fn

    weights = {}
    for cpus in (0, 2):
        # SGD-like closeness over few steps: Adam's first steps are +-lr wherever rounding decides
        # a sign, so the learning rate bounds what rounding can do.
        train = TrainConfig(
            steps=20, steps_per_epoch=10, batch_size=64, logical_cpus=cpus, learning_rate=1e-3
        )
        where = tmp_path / str(cpus)
        fn_args = binary.fn_args(where, ModelConfig(hidden_units=[8]), train)
        if cpus:
            given = tmp_path / "fn_args.json"
            given.write_text(json.dumps(vars(fn_args)))
            done = subprocess.run(
                [sys.executable, "-c", RUN, str(given)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            assert done.stdout.split() == ["2"]
        else:
            run_fn(fn_args)
        model = tf_keras.models.load_model(f"{fn_args.model_run_dir}/keras_model.h5")
        weights[cpus] = model.get_weights()
    assert len(weights[0]) == len(weights[2])
    for one, two in zip(weights[0], weights[2], strict=True):
        np.testing.assert_allclose(one, two, atol=2e-4)
