"""The Transformer encoder: padding, attention that can be read, saving, and what TF-MOT takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tfx_pipeline.errors import ConfigError
from trainer.config import ModelConfig, TrainConfig
from transform.config import LabelConfig
from transform.layout import FeatureSpec

LENGTH, IDS, HEADS, WIDTH = 6, 30, 2, 16
LABEL = LabelConfig(column="y", classes=["no", "yes"])
SPEC = FeatureSpec("größe_sequence_xf", "sequence", IDS, (LENGTH,))
ROWS = np.array([[5, 6, 7, 0, 0, 0], [2, 1, 3, 4, 9, 8], [0, 0, 0, 0, 0, 0]], np.int64)


def config(**text: Any) -> ModelConfig:
    sizes = {"blocks": 1, "heads": HEADS, "feedforward": 2, "dropout": 0.5}
    text = {"encoder": "transformer", "embedding_dim": WIDTH, "transformer": sizes} | text
    return ModelConfig.model_validate({"hidden_units": [8], "text": text})


@pytest.fixture(scope="module")
def model() -> Any:
    from trainer.models.build import LabelScale, build

    return build([SPEC], config(), TrainConfig(), LABEL, LabelScale(), Path())


def test_attention_can_be_read_and_padding_gets_none(model: Any) -> None:
    from trainer.models.encoders.attention import attention_of

    attention = attention_of(model)(ROWS)
    assert list(attention) == ["gr__e_sequence_xf_block_0"]
    given = attention["gr__e_sequence_xf_block_0"].numpy()
    assert given.shape == (3, HEADS, LENGTH, LENGTH)
    assert not given[0, :, :, 3:].any()
    np.testing.assert_allclose(given[:2].sum(axis=-1), 1.0, atol=1e-6)
    assert not given[2].any()
    assert np.ptp(given[1]) > 0


def test_a_model_without_attention_says_so() -> None:
    from trainer.models.build import LabelScale, build
    from trainer.models.encoders.attention import attention_of

    average = ModelConfig.model_validate({"text": {"encoder": "average"}})
    other = build([SPEC], average, TrainConfig(), LABEL, LabelScale(), Path())
    with pytest.raises(ConfigError, match="has no Transformer encoder"):
        attention_of(other)


def test_padding_changes_nothing(model: Any) -> None:
    before = model(ROWS).numpy()
    embedding = model.get_layer("gr__e_sequence_xf_tokens")
    weights = embedding.get_weights()
    changed = weights[0].copy()
    changed[0] = 100.0
    embedding.set_weights([changed])
    try:
        np.testing.assert_allclose(model(ROWS), before, atol=1e-6)
    finally:
        embedding.set_weights(weights)
    assert np.isfinite(before).all()


def test_the_order_of_words_counts(model: Any) -> None:
    turned = ROWS[1:2, ::-1]
    assert np.abs(model(turned) - model(ROWS[1:2])).max() > 1e-4


def test_it_reloads_from_h5(model: Any, tmp_path: Path) -> None:
    from trainer.export import save_keras
    from trainer.keras_model import load_keras

    path = tmp_path / "keras_model.h5"
    save_keras(model, str(path))
    np.testing.assert_allclose(load_keras(path, [], tmp_path)(ROWS), model(ROWS), atol=1e-6)


@pytest.mark.slow
def test_tf_mot_takes_the_dense_layers_and_names_what_it_leaves(model: Any) -> None:
    from trainer.compression.quantizable import quantized
    from trainer.compression.quantize_scheme import Preserve
    from trainer.compression.rebuild import rebuild

    made = quantized(rebuild(model), Preserve())
    taken = {layer.layer.name for layer in made.model.layers if hasattr(layer, "quantize_config")}
    scope = "gr__e_sequence_xf_block_0"
    parts = ("query", "key", "value", "attention_out", "in", "out")
    assert {f"{scope}_{part}" for part in parts} <= taken
    assert "TF-MOT cannot quantize" in made.left[f"{scope}_attention"]
    weighted = {layer.name for layer in model.layers if layer.weights}
    assert weighted <= taken | set(made.left)
    # Ranges that have seen no data yet answer with zeros; the copy in float answers as before.
    np.testing.assert_allclose(rebuild(model)(ROWS), model(ROWS), atol=1e-6)


@pytest.mark.slow
def test_its_core_converts_to_tflite(model: Any) -> None:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    function = tf.function(model).get_concrete_function(tf.TensorSpec([1, LENGTH], tf.int64))
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    [given], [answer] = interpreter.get_input_details(), interpreter.get_output_details()
    for row in ROWS:
        interpreter.set_tensor(given["index"], row[np.newaxis])
        interpreter.invoke()
        got = interpreter.get_tensor(answer["index"])
        np.testing.assert_allclose(got, model(row[np.newaxis]), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"embedding_dim": 15}, "embedding_dim 15 is not a multiple of transformer.heads 2"),
        ({"encoder": "lstm"}, "`transformer` goes with `encoder: transformer`, not lstm"),
        ({"encoder": "pretrained"}, "needs `pretrained: {path: ...}`"),
        ({"pretrained": {"path": "x"}}, "`pretrained` goes with `encoder: pretrained`"),
        (
            {"encoder": "pretrained", "pretrained": {"path": "x", "lora_rank": 2}},
            "`lora_rank` goes with `tune: lora`, not full",
        ),
        (
            {
                "encoder": "pretrained",
                "pretrained": {"path": "x", "tune": "frozen", "learning_rate_decay": 0.5},
            },
            "with frozen no block of the encoder learns",
        ),
    ],
)
def test_a_config_that_does_not_fit(text: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**text)
