"""`run_fn` end to end: it learns what was planted, and its export answers as it was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.config import ModelConfig, TrainConfig

pytestmark = pytest.mark.slow  # Data through TFT and training: seconds each.

MODEL = ModelConfig(hidden_units=[32])
TRAIN = TrainConfig(steps=300, steps_per_epoch=100, batch_size=64, learning_rate=0.01)
EVAL_ROWS = 200


def run(data: Any, where: Path, model: ModelConfig = MODEL, train: TrainConfig = TRAIN) -> Any:
    from trainer.run import run_fn

    fn_args = data.fn_args(where, model, train)
    run_fn(fn_args)
    return fn_args


@pytest.fixture(scope="session")
def trained(binary: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(binary, tmp_path_factory.mktemp("trained"))


def answers(fn_args: Any, examples: list[bytes], signature: str = "serving_default") -> Any:
    import tensorflow as tf

    loaded = tf.saved_model.load(fn_args.serving_model_dir)
    outputs = loaded.signatures[signature](examples=tf.constant(examples))
    return {name: value.numpy() for name, value in outputs.items()}


def test_learns_a_binary_label(binary: Any, trained: Any) -> None:
    got = answers(trained, binary.examples("eval", EVAL_ROWS, label=False))
    assert got["predictions"].shape == (EVAL_ROWS, 1)
    assert got["predictions"].dtype == np.float32
    truth = binary.raw["eval"]["sold"]
    assert np.mean(got["class"].astype(str) == truth) > 0.93
    named = np.where(got["predictions"][:, 0] > 0.5, b"yes", b"no")
    assert got["class"].tolist() == named.tolist()


def test_learns_a_multiclass_label(multiclass: Any, tmp_path: Path) -> None:
    got = answers(run(multiclass, tmp_path), multiclass.examples("eval", EVAL_ROWS, label=False))
    assert got["predictions"].shape == (EVAL_ROWS, 3)
    np.testing.assert_allclose(got["predictions"].sum(axis=1), 1.0, atol=1e-5)
    assert np.mean(got["class"].astype(str) == multiclass.raw["eval"]["grade"]) > 0.85


def test_learns_a_large_valued_regression_label_in_its_own_unit(
    regression: Any, tmp_path: Path
) -> None:
    fn_args = run(regression, tmp_path)
    got = answers(fn_args, regression.examples("eval", EVAL_ROWS, label=False))
    truth = regression.raw["eval"]["price"]
    assert list(got) == ["predictions"]
    error = np.sqrt(np.mean((got["predictions"][:, 0] - truth) ** 2))
    assert error < 0.15 * truth.std()


def test_every_loader_gives_the_same_answers(binary: Any, trained: Any) -> None:
    import tensorflow as tf
    import tensorflow_transform as tft
    import tf_keras

    from transform.layout import layout, model_inputs

    examples = binary.examples("eval", 50, label=False)
    tf2 = answers(trained, examples)["predictions"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], trained.serving_model_dir)
        signature = graph.signature_def["serving_default"]
        tf1 = session.run(
            signature.outputs["predictions"].name,
            {signature.inputs["examples"].name: examples},
        )
    output = tft.TFTransformOutput(binary.graph)
    keras = tf_keras.models.load_model(f"{trained.model_run_dir}/keras_model.h5")
    spec = output.raw_feature_spec()
    del spec["sold"]
    transformed = output.transform_features_layer()(tf.io.parse_example(examples, spec))
    inputs = model_inputs(transformed, layout(binary.config, output))
    np.testing.assert_array_equal(tf1, tf2)
    np.testing.assert_allclose(keras.predict(inputs, verbose=0), tf2, atol=1e-6)


def test_transform_features_gives_the_label_where_there_is_one(binary: Any, trained: Any) -> None:
    with_label = answers(trained, binary.examples("eval", 20, label=True), "transform_features")
    without = answers(trained, binary.examples("eval", 20, label=False), "transform_features")
    truth = (binary.raw["eval"]["sold"][:20] == "yes").astype(np.int64)
    assert with_label["label_xf"][:, 0].tolist() == truth.tolist()
    assert set(with_label) >= {
        "size_xf",
        "speed (km/h)_xf",
        "my shop_xf",
        "review_ids_xf",
        "label_xf",
    }
    assert without["label_xf"][:, 0].tolist() == [-1] * 20
    np.testing.assert_array_equal(with_label["size_xf"], without["size_xf"])


def test_label_made_of_another_column_is_not_asked_of_a_request() -> None:
    import tensorflow as tf

    from trainer.export import labelled_spec, request_spec
    from transform.config import TransformConfig

    raw = {n: tf.io.FixedLenFeature([1], tf.float32) for n in ("miles", "fare", "tips", "unused")}
    given = {
        "features": {"columns": {"miles": {"kind": "numeric"}}},
        "label": {"column": "tips", "above": 0.2, "of": "fare"},
    }
    config = TransformConfig.model_validate(given)
    assert list(request_spec(raw, config)) == ["miles"]
    labelled = labelled_spec(raw, config)
    assert set(labelled) == {"miles", "tips", "fare"}
    assert labelled["miles"].default_value is None
    assert np.isnan(labelled["tips"].default_value).all()


def test_export_says_what_a_request_needs_and_leaves_nothing_unfinished(trained: Any) -> None:
    folder = Path(trained.serving_model_dir)
    said = json.loads((folder / "assets.extra" / "assay_signature.json").read_text())
    assert said == {
        "columns": {
            "my shop": "bytes",
            "review": "bytes",
            "size": "float",
            "speed (km/h)": "float",
        },
        "label": "sold",
        "task": "binary",
        "classes": ["no", "yes"],
        "outputs": ["predictions", "class"],
        "missing_values": [],
    }
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_tensorboard_reads_the_scalars_of_every_epoch(trained: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(trained.model_run_dir)
    events.Reload()
    tags = events.Tags()["tensors"]
    assert sorted(tags) == ["epoch_loss", "epoch_val_loss"]
    assert [event.step for event in events.Tensors("epoch_loss")] == [100, 200, 300]


def test_two_runs_give_the_same_weights(binary: Any, trained: Any, tmp_path: Path) -> None:
    again = run(binary, tmp_path)
    assert_same_weights(trained, again)


def assert_same_weights(one: Any, other: Any) -> None:
    import h5py

    def weights(fn_args: Any) -> dict[str, np.ndarray]:
        found = {}
        with h5py.File(f"{fn_args.model_run_dir}/keras_model.h5") as file:
            file.visititems(
                lambda name, item: (
                    found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
        return found

    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert first
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
