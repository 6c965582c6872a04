"""Weight clustering with TF-MOT: each kernel has few distinct values, which compress well."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras

from tfx_pipeline.errors import NodeFailed
from trainer.compression.candidate import Compressed
from trainer.compression.config import ClusterConfig
from trainer.compression.context import Context
from trainer.compression.finetune import clone, finetune
from trainer.compression.kernels import PRUNED, leaves, replace_leaves


def cluster(parent: tf_keras.Model, config: ClusterConfig, context: Context) -> Compressed:
    """Clusters the trained kernels of the layers that TF-MOT can cluster.

    The centroids start from k-means++ and are trained, as are the weights that choose among them.
    A kernel that is pruned already keeps its zeros, as one of its clusters. Training takes
    `clusters` times the memory of the largest kernel.

    Args:
        parent: The trained model, which stays as it is.
        config: How many distinct values.
        context: Rows, strategy, seed.

    Returns:
        A model without wrappers, its values counted, and notes on layers that stayed as they were.

    Raises:
        NodeFailed: There is no kernel to cluster, training met NaN, or a kernel has more values.
    """
    from tensorflow_model_optimization.clustering import keras as clustering
    from tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster import (
        cluster_weights,
    )

    start = clone(parent, context)
    chosen: dict[str, bool] = {}  # Names of layers: whether they keep their zeros.
    notes = []
    for layer in leaves(start):
        if not any(weight.shape.rank > 1 for weight in layer.trainable_weights):
            continue
        weights = _weights(layer)
        if not weights:
            kind = type(layer).__name__
            notes.append(f"{layer.name} not clustered: TF-MOT cannot cluster layers of type {kind}")
        elif min(weight.shape.num_elements() for weight in weights) > config.clusters:
            zeros = np.mean([np.mean(np.asarray(weight) == 0) for weight in weights])
            chosen[layer.name] = bool(zeros >= PRUNED) and config.clusters > 2
    if not chosen:
        raise NodeFailed(
            f"the model {parent.name!r} has no layer to cluster: none has a trained kernel of "
            f"more than {config.clusters} weights that TF-MOT can cluster",
            hint="; ".join(notes) or "Ask for fewer clusters, or drop the candidate.",
        )

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if layer.name not in chosen:
            return layer
        return cluster_weights(
            layer,
            config.clusters,
            clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
            preserve_sparsity=chosen[layer.name],
        )

    with context.strategy.scope():
        wrapped = replace_leaves(start, wrap)
    finetune(wrapped, context, steps=config.steps, learning_rate=config.learning_rate)
    with context.strategy.scope():
        stripped = clustering.strip_clustering(wrapped)
    for layer in leaves(stripped):
        if layer.name in chosen:
            for weight in _weights(layer):
                _check(layer.name, np.asarray(weight), config.clusters)
    return Compressed(clone(stripped, context), notes=tuple(notes))


def _weights(layer: tf_keras.layers.Layer) -> list[Any]:
    """The variables of a layer that TF-MOT can cluster."""
    from tensorflow_model_optimization.python.core.clustering.keras.clustering_registry import (
        ClusteringRegistry,
    )

    if not hasattr(layer, "get_clusterable_weights"):
        if not ClusteringRegistry.supports(layer):
            return []
        ClusteringRegistry.make_clusterable(layer)
    return [weight for _, weight in layer.get_clusterable_weights()]


def _check(name: str, kernel: np.ndarray, clusters: int) -> None:
    values = np.unique(kernel).size
    if values > clusters:
        raise NodeFailed(
            f"clustering left {values} distinct values in {name}, not {clusters}",
            hint="Leave the layer out, or report it with the model's summary.",
        )
