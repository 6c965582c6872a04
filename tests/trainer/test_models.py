"""The DNN family's shapes, and what becomes of a user's own builder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError, NodeFailed
from trainer.config import ModelConfig, TrainConfig
from trainer.models.build import LabelScale, build
from trainer.models.encoders.tabular import embedding_dim
from transform.config import LabelConfig
from transform.layout import FeatureSpec

FEATURES = [
    FeatureSpec("age_xf", "dense", 1, (1,)),
    FeatureSpec("when_xf", "dense", 7, (7,)),
    FeatureSpec("tiny_xf", "ids", 3, (1,)),
    FeatureSpec("city_xf", "ids", 5000, (1,)),
    FeatureSpec("words_ids_xf", "bag", 100, (None,), "words_weights_xf"),
    FeatureSpec("photo_xf", "image", 16 * 16 * 3, (16, 16, 3)),
]
BINARY = LabelConfig(column="y", classes=["no", "yes"])
NUMBER = LabelConfig(column="y", task="regression")


def batch(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "age_xf": rng.normal(size=(rows, 1)).astype(np.float32),
        "when_xf": rng.normal(size=(rows, 7)).astype(np.float32),
        "tiny_xf": rng.integers(0, 3, (rows, 1)),
        "city_xf": rng.integers(0, 5000, (rows, 1)),
        "words_ids_xf": rng.integers(0, 100, (rows, 4)),
        "words_weights_xf": rng.random((rows, 4)).astype(np.float32),
        "photo_xf": rng.random((rows, 16, 16, 3)).astype(np.float32),
    }


def built(label: LabelConfig, model: ModelConfig | None = None, folder: Path = Path()):
    scale = LabelScale(1000.0, 50.0)
    return build(FEATURES, model or ModelConfig(), TrainConfig(), label, scale, folder)


@pytest.mark.parametrize(
    ("label", "width"),
    [
        (BINARY, 1),
        (LabelConfig(column="y", task="multiclass", classes=["a", "b", "c"]), 3),
        (NUMBER, 1),
    ],
)
def test_every_kind_of_feature_and_head(label: LabelConfig, width: int) -> None:
    output = built(label)(batch(5)).numpy()
    assert output.shape == (5, width)
    if label.task == "regression":
        # An untrained network says about the mean, in the label's unit.
        assert np.all(np.abs(output - 1000.0) < 500.0)
    else:
        assert np.all((output > 0) & (output < 1))


ODD = [
    "native country",
    "user.id",
    "user_id",
    "user id",
    "größe",
    "Price (USD)",
    "_id",
    "a/b",
    "%:",
]


def test_columns_may_be_named_anything(tmp_path: Path) -> None:
    """TensorFlow takes few characters for a scope, and a layer's name becomes one."""
    import tf_keras

    features = [
        spec
        for name in ODD
        for spec in (
            FeatureSpec(f"{name}_xf", "ids", 20, (1,)),
            FeatureSpec(f"{name} long_xf", "dense", 2, (2,)),
            FeatureSpec(f"{name}_ids_xf", "bag", 20, (None,), f"{name}_weights_xf"),
            FeatureSpec(f"{name} tiny_xf", "ids", 3, (1,)),
        )
    ]
    features.append(FeatureSpec("größe, photo_xf", "image", 16 * 16, (16, 16, 1)))
    model = build(features, ModelConfig(), TrainConfig(), BINARY, LabelScale(), Path())
    assert set(model.input_names) == {s.name for s in features} | {
        s.weights for s in features if s.weights
    }
    rng = np.random.default_rng(0)
    rows: dict[str, np.ndarray] = {}
    for spec in features:
        shape = (4, *(size or 3 for size in spec.shape))
        if spec.kind in ("ids", "bag"):
            rows[spec.name] = rng.integers(0, spec.size, shape)
        else:
            rows[spec.name] = rng.random(shape, np.float32)
        if spec.weights:
            rows[spec.weights] = rng.random(shape, np.float32)
    model.compile("sgd", "binary_crossentropy")
    model.fit(rows, np.ones((4, 1)), verbose=0)
    model.save(tmp_path / "model.h5", save_format="h5")
    again = tf_keras.models.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(again(rows), model(rows), atol=1e-6)


def test_padding_of_a_bag_changes_nothing() -> None:
    model, inputs = built(BINARY), batch(5)
    wider = {
        **inputs,
        "words_ids_xf": np.pad(inputs["words_ids_xf"], ((0, 0), (0, 3))),
        "words_weights_xf": np.pad(inputs["words_weights_xf"], ((0, 0), (0, 3))),
    }
    np.testing.assert_allclose(model(inputs), model(wider), atol=1e-6)


def test_an_embedding_grows_with_its_ids_up_to_the_limit() -> None:
    assert [embedding_dim(ids, 16) for ids in (2, 20, 100, 10_000)] == [2, 9, 16, 16]
    model = built(BINARY, ModelConfig(embedding_max_dim=5))
    assert model.get_layer("city_xf_embedding").output_dim == 5
    assert not model.get_layer("tiny_xf_one_hot").trainable


def user_file(folder: Path, body: str) -> ModelConfig:
    (folder / "mine.py").write_text(f"import tf_keras\nfrom tf_keras import layers\n{body}\n")
    return ModelConfig(builder="mine.py:build_model")


def test_a_users_builder_is_used_with_the_label_in_its_unit(tmp_path: Path) -> None:
    config = user_file(
        tmp_path,
        "def build_model(features, config):\n"
        "    x = layers.Input((1,), name='age_xf')\n"
        "    y = layers.Dense(config.outputs, config.activation, kernel_initializer='ones')(x)\n"
        "    return tf_keras.Model({'age_xf': x}, y)",
    )
    model = built(NUMBER, config, tmp_path)
    assert model.input_names == ["age_xf"]
    np.testing.assert_allclose(model({"age_xf": np.array([[2.0]])}), [[1000.0 + 2 * 50.0]])


def test_a_users_builder_may_take_the_weights_of_a_bag(tmp_path: Path) -> None:
    config = user_file(
        tmp_path,
        "def build_model(features, config):\n"
        "    x = layers.Input((None,), name='words_weights_xf')\n"
        "    total = layers.GlobalAveragePooling1D()(layers.Reshape((-1, 1))(x))\n"
        "    return tf_keras.Model(x, layers.Dense(config.outputs, config.activation)(total))",
    )
    assert built(BINARY, config, tmp_path).input_names == ["words_weights_xf"]


def test_a_users_model_of_keras_3_is_converted(tmp_path: Path) -> None:
    import tf_keras

    config = user_file(
        tmp_path,
        "import keras\n"
        "def build_model(features, config):\n"
        "    x = keras.Input((1,), name='age_xf')\n"
        "    y = keras.layers.Dense(config.outputs, kernel_initializer='ones')(x)\n"
        "    return keras.Model(x, y)",
    )
    model = built(NUMBER, config, tmp_path)
    assert isinstance(model, tf_keras.Model)
    assert model.input_names == ["age_xf"]
    np.testing.assert_allclose(model({"age_xf": np.array([[2.0]])}), [[1000.0 + 2 * 50.0]])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def build_model(features):\n    return None", r"\(features, config\)"),
        ("def build_model(features, config):\n    return None", "NoneType, not a tf_keras.Model"),
        (
            "import keras\n"
            "def build_model(features, config):\n"
            "    x = keras.Input((1,), name='age_xf')\n"
            "    return keras.Model(x, keras.layers.UnitNormalization(name='odd')(x))",
            "a Keras 3 model that does not convert: UnitNormalization",
        ),
        (
            "def build_model(features, config):\n    return tf_keras.Sequential([layers.Dense(1)])",
            "unbuilt",
        ),
        (
            "def build_model(features, config):\n"
            "    x = layers.Input((1,), name='agee_xf')\n"
            "    return tf_keras.Model(x, layers.Dense(1, 'sigmoid')(x))",
            "'agee_xf', which is not a transformed feature",
        ),
        (
            "def build_model(features, config):\n"
            "    x = layers.Input((1,), name='age_xf')\n"
            "    return tf_keras.Model(x, layers.Dense(2, 'softmax')(x))",
            r"shape \(None, 2\); a binary label needs \(None, 1\)",
        ),
        (
            "def build_model(features, config):\n"
            "    x = layers.Input((1,), name='age_xf')\n"
            "    return tf_keras.Model(x, layers.Dense(1)(x))",
            "is linear; a binary label needs probabilities",
        ),
        (
            "def build_model(features, config):\n"
            "    x = layers.Input((1,), name='age_xf')\n"
            "    y = layers.Dense(1, 'sigmoid')(x)\n"
            "    return tf_keras.Model(x, [y, y])",
            "2 outputs",
        ),
    ],
)
def test_what_a_users_builder_returns_is_checked(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        built(BINARY, user_file(tmp_path, body), tmp_path)
    assert "mine.py:build_model" in caught.value.where
    assert caught.value.hint


def test_a_users_builder_that_raises_is_named_with_its_line(tmp_path: Path) -> None:
    config = user_file(tmp_path, "def build_model(features, config):\n    return 1 / 0")
    with pytest.raises(NodeFailed, match="ZeroDivisionError") as caught:
        built(BINARY, config, tmp_path)
    assert caught.value.where.endswith("mine.py:4")


def test_a_builder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        built(BINARY, ModelConfig(builder="mine.py:build_model"), tmp_path)
