"""What every family has to do: learn, be saved and exported, and take any label and feature."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from tests.trainer.models.planted import ANY_LABEL, model_config
from tests.trainer.test_models import BINARY, NUMBER, batch
from tests.trainer.test_models import FEATURES as EVERY_KIND
from trainer.compression.context import Context
from trainer.config import TrainConfig
from trainer.export import export, save_keras
from trainer.keras_model import load_keras
from trainer.models.build import LabelScale, build
from trainer.models.config import Family
from trainer.models.registry import FAMILIES
from transform.config import LabelConfig

Trained = Callable[[str], Any]
Auc = Callable[[Any], float]

CLASSES = LabelConfig(column="y", task="multiclass", classes=["a", "b", "c"])


def test_the_config_names_every_family() -> None:
    assert set(get_args(Family)) == set(FAMILIES)


@pytest.mark.slow
def test_the_linear_baseline_learns_what_adds_up(trained: Trained, auc: Auc) -> None:
    assert 0.62 < auc(trained("linear")) < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(ANY_LABEL) - {"linear"}))
def test_learns_interactions(family: str, trained: Trained, auc: Auc) -> None:
    """Where the label follows from products: far above the linear baseline, not only chance."""
    assert auc(trained(family)) > max(0.93, auc(trained("linear")) + 0.15)


@pytest.mark.slow
@pytest.mark.parametrize("family", ANY_LABEL)
def test_answers_the_same_after_reload(
    family: str, trained: Trained, planted: Context, tmp_path: Path
) -> None:
    model = trained(family)
    save_keras(model, str(tmp_path / "keras_model.h5"))
    again = load_keras(tmp_path / "keras_model.h5", [None], tmp_path)
    np.testing.assert_allclose(again(planted.rows), model(planted.rows), atol=1e-6)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


@pytest.mark.slow
@pytest.mark.parametrize("family", ANY_LABEL)
def test_the_export_answers_as_the_model(family: str, binary: Any, tmp_path: Path) -> None:
    """Of raw rows through TFT's graph, as the model of the rows that TFT had transformed."""
    import tensorflow as tf
    import tensorflow_transform as tft
    import tf_keras

    from trainer.input import expand, first_rows, read
    from transform.layout import layout

    output = tft.TFTransformOutput(binary.graph)
    features = layout(binary.config, output)
    spec = output.transformed_feature_spec()
    split = read("val", expand(binary.files("val")), features, spec, cache_max_mb=64)
    tf_keras.utils.set_random_seed(3)
    label = binary.config.label
    model = build(features, model_config(family), TrainConfig(), label, LabelScale(), Path())
    export(model, output, features, binary.config, str(tmp_path / "exported"))
    served = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"]
    got = served(examples=tf.constant(binary.examples("val", 60, label=False)))["predictions"]
    want = model(first_rows(split, 60))
    assert np.ptp(want) > 0.01
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("label", [BINARY, CLASSES, NUMBER], ids=lambda label: label.task)
@pytest.mark.parametrize("family", ANY_LABEL)
def test_takes_every_kind_of_feature_and_label(family: str, label: LabelConfig) -> None:
    model = build(
        EVERY_KIND, model_config(family), TrainConfig(l2=1e-4), label, LabelScale(9.0, 2.0), Path()
    )
    output = model(batch(5)).numpy()
    assert output.shape == (5, 3 if label.task == "multiclass" else 1)
    assert np.isfinite(output).all()
    assert set(model.input_names) == set(batch(1))


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_hidden_layers_are_normalized_and_activated(normalization: str) -> None:
    import tf_keras

    config = model_config("dnn").model_copy(
        update={"normalization": normalization, "activation": "gelu", "dropout": 0.2}
    )
    model = build(EVERY_KIND[:2], config, TrainConfig(), BINARY, LabelScale(), Path())
    kind = {"batch": "BatchNormalization", "layer": "LayerNormalization"}[normalization]
    kinds = [type(layer).__name__ for layer in model.layers if layer.name.endswith("_0")]
    assert kinds == ["Dense", kind, "Activation", "Dropout"]
    assert model.get_layer("activation_0").activation is tf_keras.activations.gelu


def test_a_cross_layer_is_that_of_the_paper() -> None:
    """x0 * (W x + b) + x, of full rank and of two factors."""
    rng = np.random.default_rng(0)
    rows = {"age_xf": rng.normal(size=(4, 1)), "when_xf": rng.normal(size=(4, 7))}
    for rank in (0, 3):
        sizes = {"cross_layers": 1, "rank": rank, "structure": "parallel"}
        config = model_config("dnn").model_validate({"family": "dcn", "dcn": sizes})
        model = build(EVERY_KIND[:2], config, TrainConfig(), BINARY, LabelScale(), Path())
        import tf_keras

        cross = tf_keras.Model(model.input, model.get_layer("cross_0_add").output)
        x0 = np.concatenate([rows["age_xf"], rows["when_xf"]], axis=1)
        kernel, bias = model.get_layer("cross_0").get_weights()
        if rank:
            kernel = model.get_layer("cross_0_v").get_weights()[0] @ kernel
        np.testing.assert_allclose(cross(rows), x0 * (x0 @ kernel + bias) + x0, rtol=1e-4)
