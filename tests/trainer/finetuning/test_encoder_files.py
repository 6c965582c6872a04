"""Encoders from somewhere else, and what is said of one that cannot be used."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError, EnvironmentMismatch
from trainer.config import ModelConfig, TrainConfig
from trainer.models.encoders.pretrained_files import digest, find
from transform.config import LabelConfig
from transform.layout import FeatureSpec
from transform.vocabulary_file import difference_of, read_words

WORDS = ["the", "cat", "sat"]
IDS, LENGTH, WIDTH = 2 + len(WORDS), 4, 3
ROWS = np.array([[2, 3, 0, 0], [4, 1, 2, 3]], np.int64)
ON_TOP = {"hidden_0", "head"}
LABEL = LabelConfig(column="y", classes=["no", "yes"])


def built(path: Path | str, ids: int = IDS, length: int = LENGTH, **tuning: Any) -> Any:
    import tf_keras

    from trainer.models.build import LabelScale, build

    tf_keras.utils.set_random_seed(7)  # Not a hidden layer of four that is dead for both rows.
    text = {"encoder": "pretrained", "pretrained": {"path": str(path), **tuning}}
    model = ModelConfig.model_validate({"hidden_units": [4], "text": text})
    spec = FeatureSpec("review_sequence_xf", "sequence", ids, (length,))
    return build([spec], model, TrainConfig(), LABEL, LabelScale(), Path(path).parent)


def keras_file(folder: Path, name: str = "theirs.h5", length: int | None = LENGTH) -> Path:
    """Somebody's encoder: embeddings, averaged by hand, with batch normalization."""
    import tf_keras

    layers = tf_keras.layers
    ids = tf_keras.Input((length,), dtype="int32")
    x = layers.Embedding(IDS, WIDTH, name="table")(ids)
    x = layers.BatchNormalization()(layers.GlobalAveragePooling1D()(x))
    (folder / "vocabulary.txt").write_text("\n".join(WORDS) + "\n")
    with warnings.catch_warnings(action="ignore"):  # HDF5 is a legacy format.
        tf_keras.Model(ids, layers.Dense(WIDTH, name="top")(x)).save(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of plain TensorFlow, from int32 ids to a vector for each token."""
    import tensorflow as tf

    class Encoder(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.Variable(tf.random.stateless_normal([IDS, WIDTH], [1, 2]))
            self.scale = tf.Variable(tf.ones([WIDTH]))

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
        def __call__(self, ids: Any) -> Any:
            return tf.gather(self.table, ids) * self.scale

    folder = tmp_path_factory.mktemp("saved") / "encoder"
    tf.saved_model.save(Encoder(), str(folder))
    (folder / "vocabulary.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def trained(model: Any) -> dict[str, bool]:
    """Whether each weight changed in a step."""
    before = [weight.numpy() for weight in model.weights]
    model.compile("sgd", "binary_crossentropy")
    # Two rows that were opposite would have gradients that cancel where both answers are equal.
    model.fit(ROWS, np.array([[1], [1]]), verbose=0)
    return {
        weight.name: bool((weight.numpy() != old).any())
        for weight, old in zip(model.weights, before, strict=True)
    }


@pytest.mark.parametrize("name", ["theirs.h5", "theirs.keras"])
def test_a_keras_file_learns_or_stays_frozen(tmp_path: Path, name: str) -> None:
    path = keras_file(tmp_path, name)
    changed = trained(built(path, tune="full"))
    assert changed["table/embeddings:0"]
    frozen = trained(built(tmp_path, tune="frozen"))  # By its folder.
    assert {name.split("/")[0] for name, is_new in frozen.items() if is_new} == ON_TOP


def test_a_keras_models_layers_have_rates_of_their_own(tmp_path: Path) -> None:
    from trainer import layer_rates

    model = built(keras_file(tmp_path), learning_rate_decay=0.5)
    rates = layer_rates.rates(model)
    assert (rates["top"], rates["table"]) == (0.5, 0.125)


def test_a_saved_model_learns_or_stays_frozen(saved_model: Path, tmp_path: Path) -> None:
    from trainer.export import save_keras
    from trainer.keras_model import load_keras

    model = built(saved_model)
    assert all(trained(model).values())
    path = tmp_path / "keras_model.h5"
    save_keras(model, str(path))
    np.testing.assert_allclose(load_keras(path, [], tmp_path)(ROWS), model(ROWS), atol=1e-6)
    frozen = trained(built(saved_model, tune="frozen"))
    assert {name.split("/")[0] for name, is_new in frozen.items() if is_new} == ON_TOP


def test_a_tf_hub_model_comes_from_the_cache(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = "https://localhost:1/encoders/small/1"
    cached = tmp_path / hashlib.sha1(handle.encode()).hexdigest()
    shutil.copytree(saved_model, cached)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    assert find(handle, Path()).path == cached
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentMismatch, match="is not in the cache of TF-Hub") as caught:
        find(handle, Path())
    assert str(tmp_path / "empty") in caught.value.hint
    assert cached.name in caught.value.hint


def test_a_fingerprint_is_of_all_that_makes_an_encoder(tmp_path: Path) -> None:
    keras_file(tmp_path)
    first = digest(".", tmp_path)
    assert digest("theirs.h5", tmp_path) == first
    (tmp_path / "vocabulary.txt").write_text("the\ncat\nsits\n")
    second = digest(".", tmp_path)
    (tmp_path / "theirs.h5").write_bytes(b"another")
    assert len({first, second, digest(".", tmp_path)}) == 3


def test_there_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no encoder"):
        built(tmp_path / "encoder")
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(ConfigError, match=r"neither \.h5 nor \.keras"):
        built(tmp_path / "notes.md")
    with pytest.raises(ConfigError, match=r"it has neither a Keras file nor saved_model\.pb"):
        built(tmp_path)
    keras_file(tmp_path)
    (tmp_path / "vocabulary.txt").unlink()
    with pytest.raises(ConfigError, match="the vocabulary of the encoder in"):
        built(tmp_path)


def test_a_file_that_is_something_else(tmp_path: Path, saved_model: Path) -> None:
    import tf_keras

    path = keras_file(tmp_path)
    with pytest.raises(ConfigError, match="`tune: lora` puts layers into the blocks"):
        built(path, tune="lora")
    with pytest.raises(ConfigError, match=r"has 5 tokens a row, the encoder in .* takes 4"):
        built(path, length=5)
    path.write_bytes(b"no HDF5")
    with pytest.raises(ConfigError, match="is no encoder of texts: it does not load"):
        built(path)
    image = tf_keras.Input((2, 2, 1))
    with warnings.catch_warnings(action="ignore"):
        tf_keras.Model(image, tf_keras.layers.Flatten()(image)).save(path)
    with pytest.raises(ConfigError, match=r"it maps \(None, 2, 2, 1\) to \(None, 4\)"):
        built(path)
    broken = tmp_path / "broken"
    shutil.copytree(saved_model, broken)
    (broken / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(ConfigError, match="is no encoder: it does not load"):
        built(broken)


def test_other_words_than_the_encoders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 9 ids, the encoder 5") as caught:
        built(keras_file(tmp_path), ids=9)
    assert f"vocabulary: {tmp_path / 'vocabulary.txt'}" in caught.value.hint
    assert difference_of(["a", "b"], ["a", "c"]) == "word 2 is 'b', and 'c' in the encoder's"
    assert difference_of(["a"], ["a", "c"]) == "there are 1 words, and 2 in the encoder's"
    assert difference_of(["a"], ["a"]) == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"the\n\ncat\n", "an empty line"),
        (b"the\ncat\nthe\n", "'the' stands in line 1 already"),
        (b"", "has no word"),
        ("größe\n".encode("latin-1"), "cannot be read"),
    ],
)
def test_a_vocabulary_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "vocabulary.txt"
    with pytest.raises(ConfigError, match="there is no vocabulary file"):
        read_words(path)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_words(path)
    path.write_bytes(b"the\r\ncat\r\n")
    assert read_words(path) == ["the", "cat"]
