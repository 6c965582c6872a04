"""What TF-MOT takes of each family, and which layers it leaves, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.trainer.models.planted import ANY_LABEL
from tfx_pipeline.errors import NodeFailed
from trainer.compression.config import PruneConfig, QatConfig
from trainer.compression.context import Context
from trainer.compression.plan import auto, default_name
from trainer.compression.prune import prune
from trainer.compression.quantize_aware import qat
from trainer.models.registry import FAMILIES

Trained = Callable[[str], Any]
Auc = Callable[[Any], float]

# The kinds of layers that quantization-aware training leaves in float; docs/models.md says so.
IN_FLOAT = {
    "dnn": {"Embedding"},
    "linear": {"Embedding"},
    "wide_deep": {"Embedding"},
    "dcn": {"Embedding", "Multiply"},
    "residual": {"Embedding", "BatchNormalization"},
    "attention": {"Embedding", "MultiHeadAttention", "LayerNormalization"},
    "ranking": {"Embedding", "Dot"},
}


@pytest.mark.slow
@pytest.mark.parametrize("family", ANY_LABEL)
def test_quantization_takes_every_layer_or_names_it(
    family: str, trained: Trained, planted: Context, auc: Auc
) -> None:
    model = trained(family)
    made = qat(model, QatConfig(steps=0), planted)
    named = [note.partition(" left in float: ")[0] for note in made.notes]
    left = {name for names in named for name in names.split(", ")}
    assert {type(model.get_layer(name)).__name__ for name in left} == IN_FLOAT[family]
    taken = {layer.layer.name for layer in made.model.layers if hasattr(layer, "quantize_config")}
    assert {layer.name for layer in model.layers if layer.weights} <= left | taken
    # The rows of six features in front of one Concatenate keep their order (they did not).
    assert auc(made.model) > auc(model) - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("family", ANY_LABEL)
def test_pruning_takes_every_large_kernel_or_names_it(
    family: str, trained: Trained, planted: Context
) -> None:
    from trainer.compression.kernels import kernels

    model = trained(family)
    large = {name: kernel for name, kernel in kernels(model).items() if kernel.size >= 256}
    try:
        made = prune(model, PruneConfig(sparsity=0.5, steps=0), planted)
        said = "; ".join(made.notes)
        now = kernels(made.model)
    except NodeFailed as refused:
        assert not large
        said = str(refused.hint)
        now = kernels(model)
    for name, kernel in large.items():
        assert (now[name] == 0).mean() > 0.49, name
        assert kernel.shape == now[name].shape
    for layer in model.layers:
        if any(weight.shape.rank > 1 for weight in layer.trainable_weights):
            pruned = any(name.startswith(f"{layer.name}/") for name in large)
            assert pruned or f"{layer.name} left dense: " in said


def test_only_a_network_that_hidden_units_shape_has_a_student_by_itself() -> None:
    import tf_keras

    from trainer.config import ModelConfig

    layers = tf_keras.layers
    parent = tf_keras.Sequential([layers.Input((64,)), layers.Dense(64), layers.Dense(1)])
    for family in FAMILIES:
        names = {default_name(c) for c in auto(parent, ModelConfig(family=family))}
        assert ("student" in names) == (family in ("dnn", "wide_deep", "dcn", "ranking")), family
    assert "student" not in {default_name(c) for c in auto(parent, ModelConfig(builder="a.b:c"))}
