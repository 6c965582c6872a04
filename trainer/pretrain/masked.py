"""The masked-token task, and the network on top of the encoder that solves it.

Jacob Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", 2018 (https://arxiv.org/abs/1810.04805), section 3.1. A hidden word becomes the
unknown one, id 1, and not a word of its own: what stands for it has then learned what a text is
like that has a word which the vocabulary lacks, and such words come with every request.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from trainer.models.encoders.text_transformer import Parts, Sizes, tokens
from transform.text import FIRST_TOKEN, UNKNOWN

_SHARE = 0.15  # Of the known words: to be guessed.
_HIDDEN, _REPLACED = 0.8, 0.1  # Of those; the rest stay as they are.


def hide(ids: tf.Tensor, highest: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Hides some words of each text.

    Args:
        ids: int64 `[N, L]`.
        highest: The last id of the vocabulary.
        seed: int32 `[2]`; the same words are hidden for the same seed.

    Returns:
        The ids that the encoder sees, and where a word is to be guessed: bool `[N, L]`.
    """
    seeds = tf.random.experimental.stateless_split(seed, 3)
    shape = tf.shape(ids)
    chosen = (ids >= FIRST_TOKEN) & (tf.random.stateless_uniform(shape, seeds[0]) < _SHARE)
    how = tf.random.stateless_uniform(shape, seeds[1])
    another = tf.random.stateless_uniform(
        shape, seeds[2], minval=FIRST_TOKEN, maxval=highest + 1, dtype=ids.dtype
    )
    seen = tf.where(how < _HIDDEN, tf.cast(UNKNOWN, ids.dtype), another)
    seen = tf.where(how < _HIDDEN + _REPLACED, seen, ids)
    return tf.where(chosen, seen, ids), chosen


class Guesser(tf.Module):
    """The encoder, and what guesses a word from its vector.

    Attributes:
        encoder: From ids int64 `[N, L]` to `[N, L, width]`.
    """

    def __init__(self, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        ids = tf_keras.Input((None,), dtype="int64", name="ids")
        parts = Parts("", dropout)
        self.encoder = tf_keras.Model(ids, tokens(ids, sizes, parts), name="encoder")
        self.embedding = parts.layers["tokens"]
        self.head = tf_keras.Sequential(
            [
                tf_keras.layers.Dense(sizes.width, "gelu"),
                tf_keras.layers.LayerNormalization(epsilon=1e-5),
            ]
        )
        self.head.build((None, sizes.width))
        self.bias = tf.Variable(tf.zeros([sizes.ids]))

    def guesses(self, seen: tf.Tensor, chosen: tf.Tensor, training: bool) -> tf.Tensor:
        """Logits of the words at the chosen places, in their order: `[chosen, ids]`.

        A word's are the product with its own embedding (Press and Wolf 2017).
        """
        vectors = tf.boolean_mask(self.encoder(seen, training=training), chosen)
        return (
            tf.matmul(self.head(vectors), self.embedding.embeddings, transpose_b=True) + self.bias
        )

    def variables_to_train(self) -> list[tf.Variable]:
        """In a fixed order."""
        return [
            *self.encoder.trainable_variables,
            *self.head.trainable_variables,
            self.bias,
        ]
