"""The item tower as the last layer of a model in training: scores of the whole catalog.

It is never saved: what is exported holds its vectors as the kernel of a Dense layer
(`trainer.models.two_tower.served`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from trainer.models.encoders.tabular import embedding_dim
from trainer.recommend.config import TwoTowerConfig
from trainer.recommend.items import Items

# Where a call in training leaves the users' vectors, beside Keras's own `_keras_logits`: a loss
# over the batch's items needs no scores of the others, and TensorFlow does not compute what
# nothing reads.
USERS = "_assay_users"


class Catalog(tf_keras.layers.Layer):
    """From users' vectors [N, dim] to the probability of each item [N, C].

    An item's vector is a row of a table, plus what a tower makes of its own features; the row then
    starts at zero and is held back, so that an item nobody has chosen yet is what its features say.

    Args:
        items: The C items.
        sizes: The section of the family.
        activation: Of the tower's hidden layers.
        embedding_max_dim: Longest embedding of a categorical feature.
        regularizer: Of the tower's kernels.
        **more: Of a Keras layer.
    """

    def __init__(
        self,
        items: Items,
        sizes: TwoTowerConfig,
        activation: str,
        embedding_max_dim: int,
        regularizer: tf_keras.regularizers.Regularizer | None = None,
        **more: Any,
    ) -> None:
        super().__init__(dtype="float32", **more)
        layers = tf_keras.layers
        self.items = items
        self.sizes = sizes
        self._tables = {
            column: layers.Embedding(
                size,
                embedding_dim(size, embedding_max_dim),
                dtype="float32",
                name=f"column_{index}",
            )
            for index, (column, (_, size)) in enumerate(items.categories.items())
        }
        self._hidden = [
            layers.Dense(
                units,
                activation,
                kernel_regularizer=regularizer,
                dtype="float32",
                name=f"hidden_{index}",
            )
            for index, units in enumerate(sizes.item_hidden_units)
        ]
        self._last = layers.Dense(
            sizes.dim, kernel_regularizer=regularizer, dtype="float32", name="vector"
        )

    def build(self, input_shape: Any) -> None:
        """Makes all weights now, those of the tower too: an optimizer is built for them before
        anything is called."""
        start = tf_keras.initializers.RandomNormal(stddev=self.sizes.dim**-0.5)
        if self.items.have_features:
            start = tf_keras.initializers.Zeros()
        self._rows = self.add_weight("rows", (self.items.count, self.sizes.dim), initializer=start)
        super().build(input_shape)
        self.vectors(tf.zeros([1], tf.int64))

    def vectors(self, ids: tf.Tensor) -> tf.Tensor:
        """The vectors of items: int64 [n] to float32 [n, dim]."""
        made = tf.gather(self._rows, ids)
        if self.items.have_features:
            parts = [tf.gather(tf.constant(self.items.numbers), ids)]
            for column, (values, _) in self.items.categories.items():
                parts.append(self._tables[column](tf.gather(tf.constant(values), ids)))
            x = tf.concat(parts, axis=1)
            for layer in self._hidden:
                x = layer(x)
            made += self._last(x)
        return tf.linalg.l2_normalize(made, axis=1) if self.sizes.normalize else made

    def penalty(self, ids: tf.Tensor) -> tf.Tensor:
        """Of what items are beyond their features: int64 [n] to float32 [n]."""
        if not self.items.have_features:
            return tf.zeros(tf.shape(ids))
        own = tf.gather(self._rows, ids)
        return self.sizes.item_prior_rows * tf.reduce_sum(own * own, axis=1)

    def scores(self, users: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Logits [N, n] of users' vectors [N, dim] and items' [n, dim]."""
        return tf.matmul(users, vectors, transpose_b=True) / self.sizes.temperature

    def call(self, users: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        logits = self.scores(users, self.vectors(tf.range(self.items.count, dtype=tf.int64)))
        probabilities = tf.nn.softmax(logits)
        probabilities._keras_logits = logits
        if training:
            setattr(probabilities, USERS, users)
        return probabilities


def in_batch_softmax(catalog: Catalog, counts: Sequence[int]) -> Any:
    """The loss of a row: softmax over the items of its batch, each score less log Q of its item.

    Items are in a batch as often as they are chosen, Q, and not alike often: with `log_q` the
    expected gradient is near that of the softmax over the whole catalog (Xinyang Yi et al.,
    "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
    https://doi.org/10.1145/3298689.3346996, equations 4 and 5). The batch is that of all replicas.
    Outside of training, and so in `val_loss`, it is the softmax over the whole catalog.

    Of an item with features of its own, what it is beyond them has a penalty, which all its rows
    share: the fewer they are, the nearer it stays to what its features say.

    Args:
        catalog: The model's last layer.
        counts: Training rows of each item [C], for Q; an item without rows is in no batch.

    Returns:
        A function for `Model.compile`, of ids [N, 1] and predictions [N, C] to [N].
    """
    rows = tf.constant([max(count, 1) for count in counts], tf.float32)
    log_q = tf.math.log(rows / tf.cast(sum(counts), tf.float32))
    if not catalog.sizes.log_q:
        log_q = tf.zeros_like(log_q)

    def loss(truth: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        users = getattr(predictions, USERS, None)
        ids = tf.reshape(tf.cast(truth, tf.int64), [-1])
        if users is None:
            return tf_keras.losses.sparse_categorical_crossentropy(ids, predictions)
        users = tf.cast(users, tf.float32)
        batch = _of_all_replicas(ids)
        scores = catalog.scores(users, catalog.vectors(batch)) - tf.gather(log_q, batch)
        own = tf.reduce_sum(users * catalog.vectors(ids), axis=1) / catalog.sizes.temperature
        losses = tf.reduce_logsumexp(scores, axis=1) - (own - tf.gather(log_q, ids))
        return losses + catalog.penalty(ids) / tf.gather(rows, ids)

    return loss


def _of_all_replicas(ids: tf.Tensor) -> tf.Tensor:
    """The ids [n] of every replica's share of the batch. Each makes their vectors itself, so no
    gradient has to pass between them."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return ids
    return replica.all_gather(ids, axis=0)
