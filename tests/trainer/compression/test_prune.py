"""Pruning reaches its sparsity and its patterns in the weights, and keeps what the model knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from tfx_pipeline.errors import NodeFailed
from trainer.compression.candidate import Compressed
from trainer.compression.config import PruneConfig
from trainer.compression.context import Context
from trainer.compression.effects import effects
from trainer.compression.prune import prune, zero_blocks

# Models that read some of the features are given all, as in the trainer.
pytestmark = pytest.mark.filterwarnings("ignore:Input dict contained keys:UserWarning")

Auc = Callable[[Any], float]


@pytest.fixture(autouse=True)
def _parent_is_untouched(parent: Any) -> Any:
    before = parent.get_weights()
    yield
    for old, now in zip(before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


def _kernel(made: Compressed, layer: str) -> np.ndarray:
    return np.asarray(made.model.get_layer(layer).kernel)


@pytest.mark.parametrize(
    ("sparsity", "schedule", "drop"),
    [
        (0.5, "polynomial", 0.003),
        (0.8, "polynomial", 0.01),
        (0.8, "constant", 0.02),
        (0.95, "polynomial", 0.1),
    ],
)
def test_kernels_reach_the_sparsity(
    parent: Any,
    context: Context,
    auc: Auc,
    sparsity: float,
    schedule: Literal["polynomial", "constant"],
    drop: float,
) -> None:
    config = PruneConfig(sparsity=sparsity, schedule=schedule, steps=200)
    made = prune(parent, config, context)
    for name in ("hidden_0", "hidden_1"):
        zeros = float((_kernel(made, name) == 0).mean())
        assert zeros == pytest.approx(sparsity, abs=1 / 800)
    assert auc(made.model) > auc(parent) - drop
    # No wrapper is left, and what is too small is said to be dense.
    assert [type(layer) for layer in made.model.layers] == [type(x) for x in parent.layers]
    assert [layer.name for layer in made.model.layers] == [x.name for x in parent.layers]
    assert made.notes == (
        "shop_xf_embedding left dense: it has only 91 weights",
        "head left dense: it has only 32 weights",
    )
    assert (_kernel(made, "head") != 0).all()


def test_two_of_four(parent: Any, context: Context, auc: Auc) -> None:
    made = prune(parent, PruneConfig(pattern="2:4", steps=100), context)
    for name in ("hidden_0", "hidden_1"):
        kernel = _kernel(made, name)
        # 13 inputs: three groups of four, and one input that has none.
        whole = kernel[: kernel.shape[0] // 4 * 4]
        kept = np.count_nonzero(whole.reshape(-1, 4, kernel.shape[1]), axis=1)
        assert (kept == 2).all()
    assert effects(made.model, None)["pattern_2_4"] > 0.95
    assert auc(made.model) > auc(parent) - 0.01


@pytest.mark.parametrize("block_size", [(4, 1), (2, 3)])
def test_blocks(parent: Any, context: Context, auc: Auc, block_size: tuple[int, int]) -> None:
    config = PruneConfig(pattern="block", block_size=block_size, sparsity=0.6, steps=100)
    made = prune(parent, config, context)
    for name in ("hidden_0", "hidden_1"):
        kernel = _kernel(made, name)
        zeros, blocks = zero_blocks(kernel, block_size)
        assert zeros / blocks == pytest.approx(0.6, abs=1 / blocks)
        # A block is all zeros or has none.
        rows, columns = block_size
        some = [
            np.count_nonzero(block) not in (0, block.size)
            for i in range(0, kernel.shape[0], rows)
            for j in range(0, kernel.shape[1], columns)
            for block in [kernel[i : i + rows, j : j + columns]]
        ]
        assert not any(some)
    assert auc(made.model) > auc(parent) - 0.03


def test_without_steps_only_the_smallest_go(parent: Any, context: Context) -> None:
    made = prune(parent, PruneConfig(sparsity=0.5, steps=0), context)
    old, new = np.asarray(parent.get_layer("hidden_1").kernel), _kernel(made, "hidden_1")
    gone = new == 0
    assert gone.mean() == 0.5
    assert np.abs(old[gone]).max() <= np.abs(old[~gone]).min()
    np.testing.assert_array_equal(new[~gone], old[~gone])
    np.testing.assert_array_equal(_kernel(made, "head"), parent.get_layer("head").kernel)


def _on_numbers(context: Context, *layers: Any) -> Any:
    """A model of the first number, copied 64 times, through `layers`."""
    import tf_keras

    inputs = tf_keras.Input((1,), name="n0_xf")
    x = tf_keras.layers.RepeatVector(64)(inputs)
    for layer in layers:
        x = layer(x)
    return tf_keras.Model(inputs, x, name="made")


def test_convolutions_and_nested_models(context: Context) -> None:
    import tf_keras

    layers = tf_keras.layers
    inner = tf_keras.Sequential([layers.Dense(16, name="inside", input_shape=(32,))], name="nest")
    model = _on_numbers(
        context,
        layers.Reshape((8, 8, 1)),
        layers.Conv2D(32, 3, name="first"),  # One input channel: nothing to choose two of four of.
        layers.BatchNormalization(),
        layers.Conv2D(32, 3, strides=3, name="second"),
        layers.GlobalAveragePooling2D(),
        inner,
        layers.Dense(1, "sigmoid", name="head"),
    )
    made = prune(model, PruneConfig(pattern="2:4", steps=2), context)
    assert made.notes == (
        "first left dense: no 2:4 pattern in Conv2D kernels of 3 x 3 x 1 x 32",
        "head left dense: it has only 16 weights",
    )
    second, inside = _kernel(made, "second"), np.asarray(made.model.get_layer("nest").weights[0])
    for kernel in (second, inside[None, None]):
        groups = np.moveaxis(kernel, 2, 3).reshape(-1, 4)
        assert (np.count_nonzero(groups, axis=1) == 2).all()


def test_embeddings_and_blocks(context: Context) -> None:
    import tf_keras

    layers = tf_keras.layers
    inputs = tf_keras.Input((1,), dtype="int64", name="shop_xf")
    x = layers.Flatten()(layers.Embedding(100, 32, name="table")(inputs))
    x = layers.Dense(32, "relu", name="hidden")(x)
    model = tf_keras.Model(inputs, layers.Dense(1, "sigmoid", name="head")(x))
    made = prune(model, PruneConfig(sparsity=0.7, steps=2), context)
    assert float((np.asarray(made.model.get_layer("table").embeddings) == 0).mean()) >= 0.7
    made = prune(model, PruneConfig(pattern="block", steps=2), context)
    assert made.notes[0] == "table left dense: no block pattern in Embedding kernels of 100 x 32"


def test_the_label_unit_is_never_pruned(context: Context) -> None:
    import tf_keras

    from trainer.models.build import LABEL_UNIT_LAYER, LabelScale, in_label_unit

    layers = tf_keras.layers
    bare = _on_numbers(context, layers.Flatten(), layers.Dense(8, "relu"), layers.Dense(1))
    model = in_label_unit(bare, LabelScale(200.0, 30.0))
    label = context.transform.label.model_copy(update={"task": "regression", "classes": []})
    regression = dataclasses.replace(
        context,
        transform=context.transform.model_copy(update={"label": label}),
        scale=LabelScale(200.0, 30.0),
    )
    made = prune(model, PruneConfig(steps=3), regression)
    unit = made.model.get_layer(LABEL_UNIT_LAYER)
    assert [float(np.asarray(w).item()) for w in unit.get_weights()] == [30.0, 200.0]
    assert not any(LABEL_UNIT_LAYER in note for note in made.notes)


def test_a_model_without_a_prunable_layer(context: Context) -> None:
    import tf_keras

    class Own(tf_keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight("kernel", (shape[-1], 300))

        def call(self, inputs: Any) -> Any:
            return inputs @ self.kernel

    flatten = tf_keras.layers.Flatten
    with pytest.raises(NodeFailed, match="'made' has no layer to prune") as caught:
        prune(_on_numbers(context, flatten(), Own(name="own")), PruneConfig(steps=1), context)
    assert caught.value.hint == "own left dense: TF-MOT cannot prune layers of type Own"
    with pytest.raises(NodeFailed, match="no layer to prune") as caught:
        prune(_on_numbers(context, flatten()), PruneConfig(steps=1), context)
    assert "drop the candidate" in caught.value.hint


def test_a_pattern_that_is_not_there_is_noticed(
    parent: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TF-MOT leaves the last step's gradient in the weights where its callback masks nothing.
    from tensorflow_model_optimization.sparsity.keras import UpdatePruningStep

    monkeypatch.setattr(UpdatePruningStep, "on_epoch_end", lambda *_: None)
    with pytest.raises(NodeFailed, match="did not reach pattern any in hidden_0") as caught:
        prune(parent, PruneConfig(steps=3), context)
    assert "not 80%" in caught.value.headline
