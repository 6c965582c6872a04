"""`pretrain`: from texts without labels to a folder that `model.text.pretrained.path` names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

from tfx_pipeline.errors import ConfigError, DataError, NodeFailed
from trainer.checkpoints import random_generators
from trainer.models.encoders.text_transformer import sizes_of
from trainer.pretrain import corpus, folder
from trainer.pretrain.masked import Guesser, hide
from trainer.pretrain.settings import Progress, Result, Settings
from trainer.storage import write_errors
from transform.text import FIRST_TOKEN

_HELD_OUT, _MOST_HELD_OUT = 0.05, 2000  # Share and number of texts that only measure.
_WARM_UP = 0.1  # Share of the steps in which the learning rate rises.
_CLIP = 1.0  # Global norm of the gradients.
_EVAL_ROWS = 256


def pretrain(
    texts: Sequence[str],
    settings: Settings,
    output: Path,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Pretrains an encoder and writes `encoder.h5`, `vocabulary.txt` and `config.json`.

    Call it again with the same arguments after it was killed: it goes on from the last report.

    Args:
        texts: As they are; Transform's own splitting and lower case are applied.
        settings: Sizes, steps, seed.
        output: The folder; it appears when it is whole, in the place of an encoder's that is there.
        report: Called every `report_steps` and at the end.

    Raises:
        ConfigError: `output` is something else than an encoder, or `width` no multiple of `heads`.
        DataError: There are too few texts, or no words in them.
        NodeFailed: The loss became NaN.
        StorageError: The folder cannot be written.
    """
    if settings.width % settings.shape.heads:
        raise ConfigError(
            f"width {settings.width} is not a multiple of heads {settings.shape.heads}",
            hint="Every head takes an equal share of the width.",
        )
    folder.check(output)
    split = corpus.split(texts)
    words = corpus.vocabulary(split, settings.max_tokens, settings.min_count)
    rows = corpus.ids(split, words, settings.max_length)
    train, held_out = _held_out(rows[(rows >= FIRST_TOKEN).any(axis=1)], settings)
    sizes = sizes_of(settings.shape, settings.width, FIRST_TOKEN + len(words), settings.max_length)
    with _checkpointed_dropout():
        tf_keras.utils.set_random_seed(settings.seed)
        guesser = Guesser(sizes, settings.shape.dropout)
    with write_errors(str(output)):
        unfinished = folder.unfinished(output, folder.digest(settings, words, rows))
        _learn(guesser, train, settings, unfinished, report)
    loss = _measure(guesser, held_out, settings.seed)
    baseline = _by_frequency(train, held_out, sizes.ids)
    result = Result(output, len(train), len(words), loss, baseline)
    with write_errors(str(output)):
        folder.write(guesser.encoder, words, sizes, settings, result)
    return result


def _held_out(rows: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """The rows to learn from, and those to measure on."""
    count = min(_MOST_HELD_OUT, max(1, round(_HELD_OUT * len(rows))))
    order = np.random.default_rng(settings.seed).permutation(len(rows))
    held_out, train = rows[order[:count]], rows[order[count:]]
    if len(train) < settings.batch_size:
        raise DataError(
            f"there are {len(train)} texts with known words to learn from, fewer than one batch of "
            f"{settings.batch_size}",
            hint="Give more texts, or lower the batch size.",
        )
    return train, held_out


def _learn(
    guesser: Guesser,
    rows: np.ndarray,
    settings: Settings,
    unfinished: Path,
    report: Callable[[Progress], None],
) -> None:
    optimizer = tf_keras.optimizers.Adam(_rate(settings), global_clipnorm=_CLIP)
    variables = guesser.variables_to_train()
    optimizer.build(variables)
    step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(
        guesser=guesser,
        optimizer=optimizer,
        step=step,
        random_generators=random_generators(guesser.encoder),
    )
    manager = tf.train.CheckpointManager(checkpoint, str(unfinished), max_to_keep=1)
    manager.restore_or_initialize()
    highest = guesser.bias.shape[0] - 1

    @tf.function
    def learn(ids: tf.Tensor) -> tf.Tensor:
        seed = tf.stack([tf.constant(settings.seed, tf.int64), step])
        seen, chosen = hide(ids, highest, tf.cast(seed, tf.int32))
        with tf.GradientTape() as tape:
            logits = guesser.guesses(seen, chosen, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.boolean_mask(ids, chosen), logits
            )
            # A batch may have no word to guess.
            loss = tf.math.divide_no_nan(
                tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32)
            )
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        step.assign_add(1)
        return loss

    done, total, since = int(step.numpy()), tf.constant(0.0), 0
    for batch in corpus.batches(rows, settings.batch_size, settings.seed, done):
        if done >= settings.steps:
            break
        total += learn(tf.constant(batch, tf.int64))
        done, since = done + 1, since + 1
        if done % settings.report_steps == 0 or done == settings.steps:
            loss = float(total) / since
            if not math.isfinite(loss):
                raise NodeFailed(
                    f"the loss became {loss} by step {done} of {settings.steps}",
                    hint=f"Lower the learning rate (now {settings.learning_rate:g}).",
                )
            manager.save(done)
            report(Progress(done, settings.steps, loss))
            total, since = tf.constant(0.0), 0


def _rate(settings: Settings) -> tf_keras.optimizers.schedules.LearningRateSchedule:
    rise = max(1, round(_WARM_UP * settings.steps))
    return tf_keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, settings.steps - rise),
        warmup_target=settings.learning_rate,
        warmup_steps=rise,
    )


def _measure(guesser: Guesser, rows: np.ndarray, seed: int) -> float:
    """Nats a hidden word; NaN where no word was hidden."""
    highest = guesser.bias.shape[0] - 1
    total, count = 0.0, 0
    for start in range(0, len(rows), _EVAL_ROWS):
        ids = tf.constant(rows[start : start + _EVAL_ROWS], tf.int64)
        seen, chosen = hide(ids, highest, tf.constant([seed + 1, start], tf.int32))
        logits = guesser.guesses(seen, chosen, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.boolean_mask(ids, chosen), logits
        )
        total += float(tf.reduce_sum(losses))
        count += len(losses)
    return total / count if count else math.nan


def _by_frequency(train: np.ndarray, held_out: np.ndarray, ids: int) -> float:
    """Nats a word of the texts held out, guessed by how often it stands in the others."""
    counts = np.bincount(train.ravel(), minlength=ids)[FIRST_TOKEN:] + 1.0
    words = held_out[held_out >= FIRST_TOKEN] - FIRST_TOKEN
    return float(-np.log(counts / counts.sum())[words].mean())


@contextmanager
def _checkpointed_dropout() -> Iterator[None]:
    """Dropout keeps the state of its random numbers in a variable: a resumed run drops what an
    undisturbed one would have."""
    switch = tf_keras.backend.experimental
    was = switch.is_tf_random_generator_enabled()
    switch.enable_tf_random_generator()
    try:
        yield
    finally:
        if not was:
            switch.disable_tf_random_generator()
