"""Zeros and clusters are kept through quantization-aware training, on what int8 stores."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tests.trainer.processes import last_line
from tfx_pipeline.errors import NodeFailed
from trainer.compression.config import CollaborativeConfig
from trainer.compression.context import Context
from trainer.compression.convert import convert
from trainer.compression.effects import effects
from trainer.compression.quantize_aware import collaborate, int8_kernels

pytestmark = pytest.mark.filterwarnings("ignore:Input dict contained keys:UserWarning")

ROOT = Path(__file__).parents[3]
Method = Literal["prune_qat", "cluster_qat", "prune_cluster_qat"]


def stored(core: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The int8 tensor of a core that has a shape which only one has."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=core,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    details = interpreter.get_tensor_details()
    (found,) = [
        each["index"]
        for each in details
        if each["dtype"] is np.int8 and tuple(each["shape"]) == shape
    ]
    return np.array(interpreter.get_tensor(found))


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("prune_qat", marks=pytest.mark.slow),
        pytest.param("cluster_qat", marks=pytest.mark.slow),
        "prune_cluster_qat",
    ],
)
def test_a_tabular_network(
    parent: Any, context: Context, auc: Callable[[Any], float], method: Method
) -> None:
    before = parent.get_weights()
    config = CollaborativeConfig(method=method, sparsity=0.6, clusters=12, steps=50)
    made = collaborate(parent, config, context)
    assert made.numbers == "int8"
    for old, now in zip(before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    core = convert(made, context)
    for layer, shape in (("hidden_0", (64, 13)), ("hidden_1", (32, 64))):
        kernel = stored(core.content, shape)
        np.testing.assert_array_equal(kernel.T, int8_kernels(made.model)[f"{layer}/kernel"])
        if "prune" in method:
            assert float((kernel == 0).mean()) == pytest.approx(0.6, abs=0.001)
        if "cluster" in method:
            assert 8 < np.unique(kernel).size <= 12
        else:
            assert np.unique(kernel).size > 50
    measured = effects(made.model, core.content)
    assert measured["parameters"] == parent.count_params()
    # The head was not pruned, so it has no zeros to keep; it was clustered.
    head = int8_kernels(made.model)["head/kernel"]
    assert np.unique(head).size <= (12 if "cluster" in method else 32)
    assert auc(made.model) > auc(parent) - 0.01
    held = [note for note in made.notes if "not trained for int8" in note]
    # The clustered embedding is in float, where training would give each weight its own value.
    assert len(held) == ("cluster" in method)
    if held:
        table = made.model.get_layer("shop_xf_embedding")
        assert table.trainable
        assert np.unique(table.embeddings).size <= 12


@pytest.mark.slow
def test_convolutions(
    convolutional: Any, images: Context, accuracy: Callable[[Any], float]
) -> None:
    """One range for all channels: with one each, a centroid is another int8 in every channel."""
    config = CollaborativeConfig(method="prune_cluster_qat", sparsity=0.5, clusters=8, steps=40)
    made = collaborate(convolutional, config, images)
    core = convert(made, images)
    for shape in ((16, 3, 3, 2), (24, 1, 1, 16), (16, 1, 1, 24)):
        kernel = stored(core.content, shape)
        assert np.unique(kernel).size <= 8
        assert float((kernel == 0).mean()) == pytest.approx(0.5, abs=0.01)
    assert accuracy(made.model) > accuracy(convolutional) - 0.05
    assert any("TF-MOT cannot cluster layers of type DepthwiseConv2D" in n for n in made.notes)


@pytest.mark.slow
def test_layers_that_tf_mot_forgets(context: Context) -> None:
    """Its own scheme keeps no zeros in front of a Concatenate, and quantizes no kernel in front of
    a ReLU layer."""
    import tf_keras

    layers = tf_keras.layers
    inputs = {f"n{i}_xf": tf_keras.Input((1,), name=f"n{i}_xf") for i in range(6)}
    x = layers.Dense(32, name="wide")(layers.Concatenate()(list(inputs.values())))
    x = layers.ReLU(name="relu")(x)
    both = [layers.Dense(24, "relu", name=name)(x) for name in ("left", "right")]
    y = layers.Dense(1, "sigmoid", name="head")(layers.Concatenate(name="both")(both))
    model = tf_keras.Model(inputs, y, name="forked")
    config = CollaborativeConfig(method="prune_qat", sparsity=0.75, steps=30, learning_rate=1e-2)
    made = collaborate(model, config, context)
    kernels = int8_kernels(made.model)
    for name in ("left", "right"):
        assert float((kernels[f"{name}/kernel"] == 0).mean()) == pytest.approx(0.75, abs=0.01)
    assert np.abs(kernels["wide/kernel"]).max() == 127


@pytest.mark.slow
def test_a_pruned_table_in_float_keeps_its_zeros(context: Context) -> None:
    import tf_keras

    layers = tf_keras.layers
    shop = tf_keras.Input((1,), dtype="int64", name="shop_xf")
    x = layers.Flatten()(layers.Embedding(100, 16, name="table")(shop))
    x = layers.Dense(32, "relu", name="hidden")(x)
    model = tf_keras.Model({"shop_xf": shop}, layers.Dense(1, "sigmoid", name="head")(x))
    config = CollaborativeConfig(method="prune_qat", sparsity=0.6, steps=30, learning_rate=1e-2)
    made = collaborate(model, config, context)
    assert made.notes[-1].startswith("table not trained for int8")
    table = np.asarray(made.model.get_layer("table").embeddings)
    assert float((table == 0).mean()) == pytest.approx(0.6, abs=0.001)


def test_a_loss_is_noticed(parent: Any, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """What TF-MOT's default scheme does to a pruned and clustered model."""
    from trainer.compression import quantize_scheme

    monkeypatch.setattr(quantize_scheme.Weights, "project", lambda _, kernel: kernel + 0.05)
    config = CollaborativeConfig(method="prune_cluster_qat", sparsity=0.6, clusters=12, steps=1)
    with pytest.raises(NodeFailed, match="did not keep zeros or clusters") as caught:
        collaborate(parent, config, context)
    assert re.search(r"hidden_0/kernel has \d+ zeros fewer", caught.value.headline)
    assert "method int8" in caught.value.hint


def test_nothing_to_prune(context: Context) -> None:
    import tf_keras

    x = tf_keras.Input((1,), name="n0_xf")
    model = tf_keras.Model({"n0_xf": x}, tf_keras.layers.Dense(1, "sigmoid")(x), name="small")
    with pytest.raises(NodeFailed, match="'small' has no layer to prune"):
        collaborate(model, CollaborativeConfig(steps=1), context)


RUN = """
import dataclasses, json, pickle, sys
from pathlib import Path
from trainer.config import TrainConfig
from trainer.strategy import configure_devices, make_strategy
train = TrainConfig(batch_size=100, logical_cpus=2)
configure_devices(train)
import numpy as np
import tf_keras
from trainer.compression.config import CollaborativeConfig
from trainer.compression.quantize_aware import collaborate, int8_kernels
folder = Path(sys.argv[1])
context = pickle.loads((folder / "context.pickle").read_bytes())
context = dataclasses.replace(context, train=train, strategy=make_strategy(train))
parent = tf_keras.models.load_model(folder / "parent.keras")
before = parent.get_weights()
config = CollaborativeConfig(method="prune_cluster_qat", sparsity=0.6, clusters=12, steps=20)
model = collaborate(parent, config, context).model
for old, now in zip(before, parent.get_weights(), strict=True):
    np.testing.assert_array_equal(old, now)
for variable in model.weights:
    one, two = context.strategy.experimental_local_results(variable)
    np.testing.assert_array_equal(one, two, err_msg=variable.name)
np.savez(folder / "kernels.npz", **int8_kernels(model))
np.save(folder / "answers.npy", np.asarray(model(context.val_split.held.features)))
print(json.dumps({"replicas": context.strategy.num_replicas_in_sync}))
"""


@pytest.mark.slow
def test_two_replicas(
    parent: Any, context: Context, auc: Callable[[Any], float], tmp_path: Path
) -> None:
    from sklearn.metrics import roc_auc_score

    given = dataclasses.replace(context, strategy=None)  # type: ignore[arg-type]
    (tmp_path / "context.pickle").write_bytes(pickle.dumps(given))
    parent.save(tmp_path / "parent.keras")
    assert json.loads(last_line(RUN, tmp_path)) == {"replicas": 2}
    kernels = np.load(tmp_path / "kernels.npz")
    for name in ("hidden_0/kernel", "hidden_1/kernel"):
        assert float((kernels[name] == 0).mean()) == pytest.approx(0.6, abs=0.001)
        assert np.unique(kernels[name]).size <= 12
    assert context.val_split is not None
    assert context.val_split.held is not None
    answers = np.load(tmp_path / "answers.npy")
    assert roc_auc_score(context.val_split.held.label, answers) > auc(parent) - 0.02
