"""Fine-tuning through `run_fn` on forty rows: it beats training from scratch, only what is to learn
changes, and what is exported answers as what was trained."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.finetuning.conftest import SHAPE, WIDTH
from tfx_pipeline.errors import ConfigError
from trainer.config import ModelConfig, TrainConfig

pytestmark = pytest.mark.slow  # Pretraining, data through TFT, and five trainings: seconds each.

SCOPE = "review_sequence_xf"
Tuned = Callable[..., Any]
MARGIN = 0.1  # Accuracy by which every way of fine-tuning beats training from scratch.


def model_config(folder: Path, tune: str) -> ModelConfig:
    sizes = {"lora": {"lora_rank": 2}, "adapters": {"adapter_units": 8}}
    text: dict[str, Any] = {
        "encoder": "pretrained",
        "pretrained": {"path": str(folder), "tune": tune, **sizes.get(tune, {})},
    }
    if tune == "full":
        text["pretrained"]["learning_rate_decay"] = 0.7
    if tune == "scratch":
        text = {
            "encoder": "transformer",
            "embedding_dim": WIDTH,
            "transformer": SHAPE.model_dump(),
        }
    return ModelConfig.model_validate({"hidden_units": [16], "text": text})


@pytest.fixture(scope="session")
def tuned(labelled: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """The `fn_args` of a finished training, by what was tuned."""
    from trainer.run import run_fn

    done: dict[str, Any] = {}
    rates = {"frozen": 0.01, "adapters": 5e-3, "lora": 5e-3}

    def run(tune: str) -> Any:
        if tune not in done:
            train = TrainConfig(
                steps=100,
                steps_per_epoch=50,
                batch_size=20,
                learning_rate=rates.get(tune, 2e-3),
                strategy="default",
                tensorboard=False,
            )
            where = tmp_path_factory.mktemp(tune)
            done[tune] = labelled.fn_args(where, model_config(folder, tune), train)
            run_fn(done[tune])
        return done[tune]

    return run


def keras_model(fn_args: Any) -> Any:
    from trainer.keras_model import load_keras

    return load_keras(Path(fn_args.model_run_dir) / "keras_model.h5", [], Path())


def accuracy(fn_args: Any, labelled: Any) -> float:
    """Of the exported model, on 600 texts that it is sent as they are."""
    return float(np.mean(answers(fn_args, labelled)["class"].astype(str) == truth(labelled)))


def truth(labelled: Any) -> np.ndarray:
    return np.asarray(labelled.raw["eval"]["liked"])


def answers(fn_args: Any, labelled: Any) -> dict[str, np.ndarray]:
    import tensorflow as tf

    served = tf.saved_model.load(fn_args.serving_model_dir).signatures["serving_default"]
    examples = labelled.examples("eval", len(truth(labelled)), label=False)
    return {name: value.numpy() for name, value in served(examples=tf.constant(examples)).items()}


def base_weights(model: Any, folder: Path) -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """Of each of the encoder's layers: its weights now, and as they were pretrained."""
    import tf_keras

    import trainer.models.encoders.transformer_layers  # noqa: F401  # It registers its layers.

    encoder = tf_keras.models.load_model(folder / "encoder.h5", compile=False)
    return {
        layer.name: (model.get_layer(f"{SCOPE}_{layer.name}").get_weights(), layer.get_weights())
        for layer in encoder.layers
        if layer.weights
    }


def changed(model: Any, folder: Path) -> set[str]:
    return {
        name
        for name, (now, was) in base_weights(model, folder).items()
        if any((a != b).any() for a, b in zip(now, was, strict=True))
    }


@pytest.mark.parametrize("tune", ["full", "adapters", "lora", "frozen"])
def test_it_beats_training_from_scratch(tune: str, tuned: Tuned, labelled: Any) -> None:
    scratch = accuracy(tuned("scratch"), labelled)
    pretrained = accuracy(tuned(tune), labelled)
    assert pretrained >= scratch + MARGIN, (pretrained, scratch)


def test_a_frozen_encoder_stays_as_it_was_bit_for_bit(tuned: Tuned, folder: Path) -> None:
    assert changed(keras_model(tuned("frozen")), folder) == set()


def test_a_full_one_learns_everywhere(tuned: Tuned, folder: Path) -> None:
    model = keras_model(tuned("full"))
    assert changed(model, folder) == set(base_weights(model, folder))


def test_adapters_change_only_theirs(tuned: Tuned, folder: Path) -> None:
    model = keras_model(tuned("adapters"))
    assert changed(model, folder) == set()
    adapters = [layer for layer in model.layers if layer.name.endswith("_adapter_up")]
    assert len(adapters) == 4  # Two in each of two blocks.
    assert all(layer.get_weights()[0].any() for layer in adapters)


def test_lora_changes_queries_and_values_by_its_rank(tuned: Tuned, folder: Path) -> None:
    model = keras_model(tuned("lora"))
    assert not [layer.name for layer in model.layers if "lora" in layer.name]
    weights = base_weights(model, folder)
    expected = {f"block_{block}_{part}" for block in (0, 1) for part in ("query", "value")}
    assert changed(model, folder) == expected
    for name in expected:
        (kernel, bias), (was, bias_was) = weights[name]
        np.testing.assert_array_equal(bias, bias_was)
        singular = np.linalg.svd(kernel - was, compute_uv=False)
        assert singular[0] > 1e-3
        assert singular[2] < 1e-5 * max(1.0, singular[0]), singular


def test_merged_lora_answers_as_the_trained_one(folder: Path) -> None:
    from trainer import adapters
    from trainer.models.build import LabelScale, build
    from transform.config import LabelConfig
    from transform.layout import FeatureSpec
    from transform.vocabulary_file import read_words

    ids = 2 + len(read_words(folder / "vocabulary.txt"))
    spec = FeatureSpec(SCOPE, "sequence", ids, (12,))
    label = LabelConfig(column="y", classes=["no", "yes"])
    config = model_config(folder, "lora")
    given = TrainConfig(), label, LabelScale(), folder
    model = build([spec], config, *given)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, ids, (50, 12))
    before = model(rows).numpy()
    for layer in model.layers:
        if layer.name.endswith("_lora_up"):
            layer.set_weights([rng.normal(scale=0.3, size=w.shape) for w in layer.get_weights()])
    trained = model(rows).numpy()
    assert np.abs(trained - before).max() > 1e-3
    plain = adapters.without_lora(config)
    assert plain is not None
    merged = adapters.merged(model, build([spec], plain, *given))
    np.testing.assert_allclose(merged(rows), trained, atol=1e-5)
    assert merged.count_params() < model.count_params()


@pytest.mark.parametrize("tune", ["full", "adapters", "lora"])
def test_the_export_answers_as_the_keras_model(tune: str, tuned: Tuned, labelled: Any) -> None:
    import tensorflow as tf
    import tensorflow_transform as tft

    texts = tf.constant(list(labelled.raw["eval"]["review"]))[:, tf.newaxis]
    layer = tft.TFTransformOutput(labelled.graph).transform_features_layer()
    ids = layer({"review": texts})[SCOPE]
    expected = keras_model(tuned(tune))(ids)
    got = answers(tuned(tune), labelled)["predictions"]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_it_says_how_much_learns(
    labelled: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from trainer.loading import TrainerConfig, load
    from trainer.run import build_compiled

    train = TrainConfig(batch_size=20, strategy="default")
    fn_args = labelled.fn_args(Path(), model_config(folder, "lora"), train)
    config = TrainerConfig.read(fn_args.custom_config)
    with caplog.at_level(logging.INFO):
        model = build_compiled(config, load(fn_args, config))
    learn = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    # Two kernels of rank 2 in each of two blocks; hidden layer and head.
    assert learn == 4 * (2 * 2 * WIDTH) + 16 * WIDTH + 16 + 16 + 1
    assert f"{learn:,} of {model.count_params():,} parameters learn" in caplog.text


def test_ids_of_other_words_are_refused(labelled: Any, folder: Path, tmp_path: Path) -> None:
    """As many words, but in another order: nothing else would tell."""
    import shutil

    from trainer.run import run_fn

    other = tmp_path / "encoder"
    shutil.copytree(folder, other)
    words = (other / "vocabulary.txt").read_text().split()
    (other / "vocabulary.txt").write_text("\n".join(words[::-1]))
    fn_args = labelled.fn_args(tmp_path, model_config(other, "full"), TrainConfig(batch_size=20))
    with pytest.raises(ConfigError, match="the column's words are not the encoder's: of column"):
        run_fn(fn_args)
