"""Every encoder learns what is planted, reloads, is quantized as far as TF-MOT goes; padding
changes nothing."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.models.signals import CASES, TEXT, TOKENS, Case
from tests.trainer.processes import last_line
from tfx_pipeline.errors import ConfigError
from trainer.config import ModelConfig, TrainConfig
from trainer.models.build import LabelScale, build
from trainer.models.encoders.config import ImageEncoderConfig, TextEncoderConfig
from transform.config import LabelConfig, TransformConfig
from transform.layout import FeatureSpec

ROOT = Path(__file__).parents[3]
LABEL = LabelConfig(column="y", classes=["no", "yes"])
SEEN, HELD_OUT = 600, 300
QUICK = {"image cnn", "text average", "text cnn", "series cnn"}
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
RECURRENT = ["text lstm", "text gru"]


def model_of(case: Case, spec: FeatureSpec | None = None) -> Any:
    config = ModelConfig.model_validate(case.model)
    return build([spec or case.spec], config, TrainConfig(), LABEL, LabelScale(), Path())


def rows_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    return case.rows(SEEN + HELD_OUT, np.random.default_rng(3))


@cache
def trained(name: str) -> Any:
    """Shared: a test must not change its weights."""
    import tf_keras

    from trainer.step import trace_once

    case = CASES[name]
    x, y = rows_of(case)
    tf_keras.utils.set_random_seed(1)
    model = model_of(case)
    model.compile(tf_keras.optimizers.Adam(0.01), "binary_crossentropy", steps_per_execution=20)
    trace_once(model)
    model.fit({case.spec.name: x[:SEEN]}, y[:SEEN], batch_size=30, epochs=6, verbose=0)
    return model


@pytest.mark.parametrize("name", EACH)
def test_it_learns_what_a_line_through_its_values_does_not(name: str) -> None:
    """The baseline: logistic regression on pixels, steps or counts of words. The average is one
    itself, and is measured against saying the same of every row."""
    from sklearn.linear_model import LogisticRegression

    case = CASES[name]
    x, y = rows_of(case)
    answers = np.asarray(trained(name)({case.spec.name: x[SEEN:]}))[:, 0]
    accuracy = ((answers > 0.5) == y[SEEN:]).mean()
    if name == "text average":
        baseline = max(y.mean(), 1 - y.mean())
    else:
        counts = np.stack([(x == token).sum(axis=1) for token in range(TOKENS)], axis=1)
        flat = counts if case.spec.kind == "sequence" else x.reshape(len(x), -1)
        line = LogisticRegression(max_iter=1000).fit(flat[:SEEN], y[:SEEN])
        baseline = line.score(flat[SEEN:], y[SEEN:])
    assert baseline < 0.65
    assert accuracy > 0.95


@pytest.mark.parametrize("name", EACH)
def test_it_reloads_from_its_file_and_answers_as_before(name: str, tmp_path: Path) -> None:
    from trainer.export import save_keras
    from trainer.keras_model import load_keras

    case, model = CASES[name], trained(name)
    save_keras(model, str(tmp_path / "keras_model.h5"))
    again = load_keras(tmp_path / "keras_model.h5", [None], tmp_path)
    inputs = {case.spec.name: rows_of(case)[0][:50]}
    np.testing.assert_allclose(again(inputs), model(inputs), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_tf_mot_takes_each_layer_or_names_it(name: str) -> None:
    from trainer.compression.quantizable import quantized
    from trainer.compression.quantize_scheme import Preserve

    model = trained(name)
    made = quantized(model, Preserve())
    assert {type(model.get_layer(layer)).__name__ for layer in made.left} == CASES[name].left
    taken = {layer.layer.name for layer in made.model.layers if hasattr(layer, "quantize_config")}
    # Batch normalization is folded into the convolution in front of it when it is converted.
    assert {layer.name for layer in model.layers if layer.weights} <= {*made.left, *taken}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image resnet", "text average", "text cnn", "text gru"])
def test_it_converts_to_a_core_that_answers_alike(name: str) -> None:
    import tensorflow as tf

    from trainer.compression.candidate import Compressed
    from trainer.compression.context import Context
    from trainer.compression.convert import convert
    from trainer.input import Held, Split

    case = CASES[name]
    x, y = rows_of(case)
    split = Split("train", (), [case.spec], {}, 200, Held({case.spec.name: x[:200]}, y[:200, None]))
    config = {
        "features": {"columns": {"any": {"kind": "numeric"}}},
        "label": {"column": "y", "classes": ["no", "yes"]},
    }
    context = Context(
        layout=[case.spec],
        tft_output=None,
        transform=TransformConfig.model_validate(config),
        model=ModelConfig.model_validate(case.model),
        train=TrainConfig(),
        scale=LabelScale(),
        train_split=split,
        val_split=split,
        strategy=tf.distribute.get_strategy(),
        rows={case.spec.name: x[:200]},
        folder=Path(),
    )
    core = convert(Compressed(trained(name)), context)
    assert core.content
    assert core.max_difference < 1e-5


@pytest.mark.parametrize("name", ["text average", "text cnn", *RECURRENT])
@pytest.mark.parametrize("length", [9, 40])  # 40: too long to be written out step by step.
def test_padding_changes_nothing(name: str, length: int) -> None:
    short = model_of(CASES[name])
    long = model_of(CASES[name], FeatureSpec(TEXT.name, "sequence", TOKENS, (length,)))
    long.set_weights(short.get_weights())
    ids = np.array([[4, 2, 3, 0, 0, 0], [5, 0, 0, 0, 0, 0], [2, 3, 4, 5, 6, 7], [0] * 6])
    wide = np.pad(ids, ((0, 0), (0, length - 6)))
    answers = short({TEXT.name: ids}).numpy()
    assert np.isfinite(answers).all()
    assert len(np.unique(answers.round(6))) == len(ids)
    np.testing.assert_allclose(answers, long({TEXT.name: wide}), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"encoder": "resnett"}, "resnet"),
        ({"encoder": "resnet", "mobilenet": {}}, "goes with `encoder: mobilenet`"),
        ({"encoder": "application", "application": {"name": "ResNet5"}}, "ResNet50"),
    ],
)
def test_a_section_that_is_not_the_encoders_is_refused(config: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ImageEncoderConfig.model_validate(config)


def test_a_config_survives_its_dump() -> None:
    """TFX hands it to the Trainer as JSON, with every field set."""
    for config in (
        ImageEncoderConfig.model_validate(
            {"encoder": "application", "application": {"trainable": False}}
        ),
        TextEncoderConfig.model_validate({"encoder": "cnn", "cnn": {"widths": [1, 5]}}),
    ):
        assert type(config).model_validate(config.model_dump(mode="json")) == config


def test_a_backbone_needs_images_of_its_size() -> None:
    case = CASES["image cnn"]
    model = {"image": {"encoder": "application", "application": {"name": "MobileNet"}}}
    with pytest.raises(ConfigError, match=r"MobileNet does not take these images: .*32") as caught:
        model_of(Case(case.spec, case.rows, model, frozenset()))
    assert "height_px" in (caught.value.hint or "")


SAME = """
import json
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import tf_keras
from tests.trainer.models.signals import CASES
from tests.trainer.models.test_encoders import model_of, rows_of
case = CASES["image resnet"]
x, y = rows_of(case)
found = []
for strategy in (
    tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
):
    with strategy.scope():
        tf_keras.utils.set_random_seed(1)
        model = model_of(case)
        model.compile(tf_keras.optimizers.SGD(0.1), "binary_crossentropy")
    model.fit({case.spec.name: x[:64]}, y[:64], batch_size=16, shuffle=False, verbose=0)
    found.append({w.name: (w.trainable, w.numpy()) for w in model.weights})
one, two = found
far = {"learned": 0.0, "moments": 0.0}
for name, (learned, value) in one.items():
    difference = float(np.abs(value - two[name][1]).max() / (1 if learned else np.abs(value).max()))
    kind = "learned" if learned else "moments"
    far[kind] = max(far[kind], difference)
print(json.dumps(far))
"""


@pytest.mark.slow
def test_two_replicas_normalize_as_one_does() -> None:
    """In a process of its own: the CPU is split before TensorFlow uses it."""
    far = json.loads(last_line(SAME))
    assert far["learned"] < 1e-5
    # On one replica TensorFlow's fused kernel keeps the variance of N values as N / (N - 1) of it;
    # N is 16 rows of 16 pixels here.
    assert far["moments"] < 1 / 200
