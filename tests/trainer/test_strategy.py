"""Which strategy a config gets here, and what is said where the hardware is absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.processes import last_line
from tfx_pipeline.errors import EnvironmentMismatch
from trainer.config import TrainConfig
from trainer.strategy import configure_devices, is_chief, make_strategy, scaled

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


def test_horovod_points_to_multi_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMismatch, match=r"`import horovod\.tensorflow` fails") as caught:
        make_strategy(TrainConfig(strategy="horovod"))
    assert "0.28.1, does not build" in caught.value.hint
    assert "train.strategy: multi_worker" in caught.value.hint
    # Where somebody has built one, training must not quietly run on one machine instead.
    (tmp_path / "horovod" / "tensorflow").mkdir(parents=True)
    (tmp_path / "horovod" / "tensorflow" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EnvironmentMismatch, match="which Assay does not drive"):
        make_strategy(TrainConfig(strategy="horovod"))


@pytest.mark.parametrize(
    ("scale", "replicas", "batch_size", "learning_rate"),
    [
        ("none", 4, 64, 0.01),
        ("linear", 1, 64, 0.01),
        ("linear", 4, 256, 0.04),
        ("sqrt", 4, 256, 0.02),
    ],
)
def test_batch_and_rate_scale_by_the_stated_rule(
    scale: Any, replicas: int, batch_size: int, learning_rate: float
) -> None:
    found = scaled(TrainConfig(batch_size=64, learning_rate=0.01, scale=scale), replicas)
    assert found.batch_size == batch_size
    assert found.learning_rate == pytest.approx(learning_rate)
    assert found.scale == "none"  # A second call must not scale again.
    assert scaled(found, replicas) == found


def test_a_batch_of_one_replica_needs_no_multiple() -> None:
    with pytest.raises(ValueError, match="not a multiple of logical_cpus 2"):
        TrainConfig(batch_size=33, logical_cpus=2)
    train = TrainConfig(batch_size=33, logical_cpus=2, scale="linear")
    assert scaled(train, 2).batch_size == 66


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


SAME = """
import json, sys
from trainer.config import TrainConfig
from trainer.strategy import configure_devices, make_strategy
two = TrainConfig(
    steps=12,
    steps_per_epoch=6,
    batch_size=16,
    logical_cpus=2,
    learning_rate=1e-2,
    tensorboard="full",
)
configure_devices(two)
import numpy as np
import tensorflow as tf
import tf_keras
from trainer import fit
from trainer.input import Held, Split
from trainer.models.build import LabelScale
from transform.config import LabelConfig
label = LabelConfig(column="y", classes=["0", "1"])

def split(name, rows):
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    y = (x[:, :1] + 0.3 * rng.normal(size=(rows, 1)) > 0).astype(np.int64)
    return Split(name, (), [], {}, rows, Held({"x": x}, y))

def train(config, rows, val_rows, where):
    heard = []
    strategy = make_strategy(config)
    with strategy.scope():
        tf_keras.utils.set_random_seed(3)
        x = tf_keras.Input((3,), name="x")
        hidden = tf_keras.layers.Dense(8, "relu", kernel_regularizer="l2")(x)
        model = tf_keras.Model({"x": x}, tf_keras.layers.Dense(1, "sigmoid")(hidden))
        fit.compile_model(model, config, label, LabelScale())
        # Adam's first steps are +-lr wherever rounding decides a gradient's sign.
        model.optimizer = tf_keras.optimizers.SGD(config.learning_rate)
        keep = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: heard.append(logs))
        fit.fit(model, config, split("train", rows), split("val", val_rows), where, {}, [keep])
    return strategy.num_replicas_in_sync, [w.tolist() for w in model.get_weights()], heard

one = two.model_copy(update={"logical_cpus": 0})
found = []
for number, (rows, val_rows) in enumerate([(33, 5), (47, 1)]):
    folder = f"{sys.argv[1]}/{number}"
    found.append([train(c, rows, val_rows, f"{folder}-{c.logical_cpus}") for c in (one, two)])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_replicas_train_like_one_on_any_number_of_rows(tmp_path: Path) -> None:
    """Also where the last batch of the rows is short, in training and in validation."""
    for one, two in json.loads(last_line(SAME, tmp_path)):
        assert (one[0], two[0]) == (1, 2)
        for first, second in zip(one[1], two[1], strict=True):
            np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)
        assert len(one[2]) == 2
        for first, second in zip(one[2], two[2], strict=True):
            assert second == pytest.approx(first, abs=1e-5)
