"""Backbones of tf_keras.applications: weights, what they expect of pixels, when they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError
from trainer.config import ModelConfig, TrainConfig
from trainer.fit import compile_model, fit
from trainer.input import Held, Split
from trainer.models.build import LabelScale, build
from trainer.models.encoders.image_application import pixel_map
from transform.config import LabelConfig
from transform.layout import FeatureSpec

LABEL = LabelConfig(column="y", classes=["no", "yes"])
PHOTO = FeatureSpec("photo_xf", "image", 32 * 32 * 3, (32, 32, 3))


def model_of(folder: Path, **application: Any) -> Any:
    section = {"encoder": "application", "application": {"name": "MobileNet", **application}}
    config = ModelConfig.model_validate({"hidden_units": [4], "image": section})
    return build([PHOTO], config, TrainConfig(), LABEL, LabelScale(), folder)


@pytest.mark.slow
def test_a_weights_file_makes_the_backbone_that_it_was_saved_from(tmp_path: Path) -> None:
    import tf_keras

    source = tf_keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    rng = np.random.default_rng(0)
    source.set_weights([w + rng.normal(0, 0.05, w.shape) ** 2 for w in source.get_weights()])
    source.save_weights(tmp_path / "mine.h5")
    model = model_of(tmp_path, weights="mine.h5", trainable=False)
    pixels = rng.random((3, 32, 32, 3)).astype(np.float32)
    expected = source(tf_keras.applications.mobilenet.preprocess_input(255 * pixels))
    ours = tf_keras.Model(model.inputs, model.get_layer("hidden_0").input)({PHOTO.name: pixels})
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    # Frozen: what learns is what stands on it.
    names = {weight.name.split("/")[0] for weight in model.trainable_weights}
    assert names == {"hidden_0", "head"}
    with pytest.raises(ConfigError, match="are not those of MobileNetV2 without its top"):
        model_of(tmp_path, weights="mine.h5", name="MobileNetV2")


def test_weights_that_are_not_at_hand_are_told_how_to_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="there is no weights file") as caught:
        model_of(tmp_path, weights="gone.h5")
    assert str(tmp_path / "gone.h5") in caught.value.headline
    # Nothing listens there: a closed network, at once.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"not at hand: .*mobilenet_1_0_224_tf_no_top\.h5") as e:
        model_of(tmp_path, weights="imagenet")
    assert ".keras/models" in (e.value.hint or "")


@pytest.mark.parametrize("name", ["MobileNet", "VGG16", "DenseNet121", "EfficientNetB0"])
def test_pixels_become_what_the_backbone_expects(name: str) -> None:
    import sys

    import tf_keras

    module = sys.modules[getattr(tf_keras.applications, name).__module__]
    pixels = np.random.default_rng(0).random((2, 3, 3, 3)).astype(np.float32)
    kernel, bias = pixel_map(name, 3)
    expected = module.preprocess_input(255 * pixels)
    np.testing.assert_allclose(pixels @ kernel[0, 0] + bias, expected, atol=1e-3)
    grey = pixels[..., :1]
    kernel, bias = pixel_map(name, 1)
    expected = module.preprocess_input(255 * np.repeat(grey, 3, axis=-1))
    np.testing.assert_allclose(grey @ kernel[0, 0] + bias, expected, atol=1e-3)


SPEC = FeatureSpec("x_xf", "dense", 4, (4,))


def two_layers() -> Any:
    """A "backbone" with batch normalization, frozen for 25 steps, and a head."""
    import tf_keras

    tf_keras.utils.set_random_seed(5)
    x = tf_keras.Input((4,), name=SPEC.name)
    y = tf_keras.layers.Dense(3, "relu", name="backbone")(x)
    y = tf_keras.layers.BatchNormalization(name="norm")(y)
    model = tf_keras.Model(x, tf_keras.layers.Dense(1, "sigmoid", name="head")(y))
    for name in ("backbone", "norm"):
        model.get_layer(name).assay_frozen_steps = 25
    return model


def trained(folder: Path, *steps: int) -> tuple[Any, list[dict[str, np.ndarray]]]:
    """The model after runs to each of `steps` in turn, and its weights after every epoch."""
    import tf_keras

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    held = Held({SPEC.name: x}, (x[:, :1] > 0).astype(np.int64))
    split = Split("train", (), [SPEC], {}, 200, held)
    seen: list[dict[str, np.ndarray]] = []
    for last in steps:
        model = two_layers()
        train = TrainConfig(
            steps=last, steps_per_epoch=10, batch_size=20, learning_rate=0.05, tensorboard=False
        )
        compile_model(model, train, LABEL, LabelScale())

        def keep(epoch: int, logs: Any, model: Any = model) -> None:
            seen.append({w.name: w.numpy() for w in model.weights})

        recorder = tf_keras.callbacks.LambdaCallback(on_epoch_end=keep)
        fit(model, train, split, None, str(folder), {"made": "by"}, [recorder])
    return model, seen


@pytest.mark.slow
def test_a_frozen_backbone_learns_from_its_step_on_also_when_resumed(tmp_path: Path) -> None:
    start = {w.name: w.numpy() for w in two_layers().weights}
    model, seen = trained(tmp_path / "whole", 60)
    assert len(seen) == 6
    for epoch, weights in enumerate(seen, start=1):
        for name, value in weights.items():
            before = seen[epoch - 2][name] if epoch > 1 else start[name]
            # 25 steps are over in the third epoch: the fourth is the first that begins after them.
            frozen = not name.startswith("head") and epoch <= 3
            assert np.array_equal(value, before) == frozen, (epoch, name)
    assert all(layer.trainable for layer in model.layers)
    for steps in ((20, 60), (40, 60)):
        again, _ = trained(tmp_path / str(steps), *steps)
        for ours, theirs in zip(model.weights, again.weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
