"""Clustering leaves few distinct values in each kernel, and the zeros that pruning made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import NodeFailed
from trainer.compression.cluster import cluster
from trainer.compression.config import ClusterConfig, PruneConfig
from trainer.compression.context import Context
from trainer.compression.kernels import kernels
from trainer.compression.prune import prune

Auc = Callable[[Any], float]


@pytest.mark.parametrize(("clusters", "steps"), [(16, 100), (4, 100), (64, 0)])
def test_kernels_have_few_values(
    parent: Any, context: Context, auc: Auc, clusters: int, steps: int
) -> None:
    before = parent.get_weights()
    made = cluster(parent, ClusterConfig(clusters=clusters, steps=steps), context)
    assert made.notes == ()
    old, new = kernels(parent), kernels(made.model)
    assert list(old) == list(new)
    for name, kernel in new.items():
        assert 1 < np.unique(kernel).size <= clusters
        assert kernel.shape == old[name].shape
    assert np.unique(new["hidden_0/kernel"]).size > clusters * 0.7
    assert auc(made.model) > auc(parent) - 0.01
    assert [layer.name for layer in made.model.layers] == [x.name for x in parent.layers]
    for one, two in zip(before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_pruned_model_keeps_its_zeros(parent: Any, context: Context, auc: Auc) -> None:
    pruned = prune(parent, PruneConfig(sparsity=0.6, steps=50), context).model
    made = cluster(pruned, ClusterConfig(clusters=16, steps=100), context).model
    for name in ("hidden_0/kernel", "hidden_1/kernel"):
        zeros = kernels(pruned)[name] == 0
        kernel = kernels(made)[name]
        assert (kernel[zeros] == 0).all()
        assert np.unique(kernel).size <= 16
    assert auc(made) > auc(pruned) - 0.01


def test_a_model_that_cannot_be_clustered(context: Context) -> None:
    import tf_keras

    inputs = tf_keras.Input((1,), name="n0_xf")
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(10)(inputs), name="small")
    with pytest.raises(NodeFailed, match=r"'small' has no layer to cluster: .* more than 16"):
        cluster(model, ClusterConfig(), context)

    class Own(tf_keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight("kernel", (shape[-1], 300))

        def call(self, inputs: Any) -> Any:
            return inputs @ self.kernel

    model = tf_keras.Model(inputs, Own(name="own")(inputs))
    with pytest.raises(NodeFailed, match="no layer to cluster") as caught:
        cluster(model, ClusterConfig(), context)
    assert caught.value.hint == "own not clustered: TF-MOT cannot cluster layers of type Own"


def test_a_keras_3_model(context: Context) -> None:
    # TF-MOT's cluster_weights returns None for one, and no error.
    import keras

    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(64)(inputs))
    with pytest.raises(NodeFailed, match="TF-MOT compresses tf_keras models only"):
        cluster(model, ClusterConfig(), context)
