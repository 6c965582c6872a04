"""Numbers, text, an image and a series in one model, from raw rows through TFT to the export."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import Transformed, serialize, transform
from tests.trainer.models.signals import order, pitch, stripes
from trainer.config import ModelConfig, TrainConfig
from transform.config import TransformConfig, storage_types

pytestmark = pytest.mark.slow  # Data through TFT and a training: some ten seconds.

CONFIG = TransformConfig.model_validate(
    {
        "features": {
            "columns": {
                "number": {"kind": "numeric"},
                "words": {"kind": "text", "output": "sequence", "max_length": 8},
                "photo": {"kind": "image", "height_px": 8, "width_px": 8, "channels": 1},
                "signal": {"kind": "series", "length": 12},
            }
        },
        "label": {"column": "y", "classes": ["no", "yes"]},
    }
)
MODEL = ModelConfig.model_validate(
    {
        "hidden_units": [16],
        "text": {"encoder": "gru", "embedding_dim": 8, "units": 8},
        "image": {"encoder": "resnet", "resnet": {"blocks": [1, 1], "filters": 8}},
        "series": {"encoder": "cnn", "units": 8},
    }
)
TRAIN = TrainConfig(
    steps=240, steps_per_epoch=120, batch_size=50, learning_rate=0.01, tensorboard=False
)


def png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((255 * pixels[..., 0]).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(count: int, seed: int) -> dict[str, np.ndarray]:
    """The label is what two of three say: the number's sign, the words' order, the stripes' way.
    Each alone is right three times in four. The series says nothing."""
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, 2, (3, count))
    tokens, images = order(count, rng, votes[1])[0], stripes(count, rng, votes[2])[0]
    series = pitch(count, rng)[0][:, :, 0]
    objects = {
        "words": [" ".join(f"w{token}" for token in row) for row in tokens],
        "photo": [png(image) for image in images],
        "signal": [" ".join(f"{value:.4f}" for value in row) for row in series],
    }
    return {
        "number": ((2 * votes[0] - 1) * rng.uniform(1, 3, count)).astype(np.float32),
        **{name: np.array(values, object) for name, values in objects.items()},
        "y": np.where(votes.sum(axis=0) >= 2, "yes", "no"),
        "votes": votes.T,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    splits = {"train": rows(1000, 1), "val": rows(200, 2), "eval": rows(300, 3)}
    return transform(tmp_path_factory.mktemp("multimodal"), CONFIG, splits)


@pytest.fixture(scope="module")
def trained(data: Transformed, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from trainer.run import run_fn

    fn_args = data.fn_args(tmp_path_factory.mktemp("trained"), MODEL, TRAIN)
    run_fn(fn_args)
    return fn_args


def served(fn_args: Any, examples: list[bytes], signature: str = "serving_default") -> Any:
    import tensorflow as tf

    loaded = tf.saved_model.load(fn_args.serving_model_dir)
    outputs = loaded.signatures[signature](examples=tf.constant(examples))
    return {name: value.numpy() for name, value in outputs.items()}


def test_it_learns_what_no_single_input_tells(data: Transformed, trained: Any) -> None:
    truth = data.raw["eval"]["y"]
    votes = data.raw["eval"]["votes"]
    alone = max(np.mean(np.where(vote, "yes", "no") == truth) for vote in votes.T)
    got = served(trained, data.examples("eval", 300, label=False))
    together = np.mean(got["class"].astype(str) == truth)
    assert alone < 0.83
    assert together > 0.93


def test_the_exported_graph_answers_as_the_keras_model(data: Transformed, trained: Any) -> None:
    from trainer.keras_model import load_keras

    keras = load_keras(Path(trained.model_run_dir) / "keras_model.h5", [None], Path())
    examples = data.examples("eval", 64, label=True)
    features = served(trained, examples, "transform_features")
    assert features["words_sequence_xf"].shape == (64, 8)
    assert (features["words_sequence_xf"][:, 6:] == 0).all()  # Padded inside the graph.
    assert features["signal_series_xf"].shape == (64, 12, 1)
    expected = keras({name: features[name] for name in keras.input_names}, training=False)
    np.testing.assert_allclose(served(trained, examples)["predictions"], expected, atol=1e-5)


def test_a_request_without_text_image_and_series_is_answered(
    data: Transformed, trained: Any
) -> None:
    types = storage_types(CONFIG)
    del types["y"]
    row = {"number": 2.0, "words": "", "photo": b"", "signal": ""}
    other = row | {"words": "w2 w3", "signal": "1, 2, no number"}
    got = served(trained, [serialize(each, types) for each in (row, other)])["predictions"]
    assert np.isfinite(got).all()
    assert got[0] != got[1]
