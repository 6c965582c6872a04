"""Writes the warm-up requests that travel with a SavedModel: `assets.extra` of its folder.

A server runs them when it loads the version, before it answers (`serving.server.warmup`, and
tensorflow_model_server alike), so that the first client does not wait for what TensorFlow
initializes with the first request of a kind.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.server.warmup import MAX_RECORDS, WARMUP_FILE

BATCHES = (1, 1, 8, 32)
"""Rows of each request: one row is what most clients send, and batching makes more of them."""


def write_warmup(
    folder: Path,
    examples: Sequence[bytes],
    *,
    model_name: str = "",
    signature: str = "serving_default",
    input_name: str = "examples",
    batches: Sequence[int] = BATCHES,
) -> int:
    """Writes Predict requests made of real rows, over those that were there.

    Args:
        folder: Of the SavedModel; `assets.extra` is made.
        examples: Serialized tf.Examples, as clients send them; used from the first again when
            there are fewer than a request needs.
        model_name: In the requests; servers run them on the model that brought them.
        signature: Signature key.
        input_name: The signature's one input, a string vector.
        batches: Rows of each request.

    Returns:
        How many requests were written.

    Raises:
        ValueError: There are no rows, or more requests than a server takes (1000).
        OSError: The file cannot be written.
    """
    if not examples:
        raise ValueError("no rows to make warm-up requests of")
    if len(batches) > MAX_RECORDS:
        raise ValueError(f"{len(batches)} warm-up requests are more than {MAX_RECORDS}")
    file = folder / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    unfinished = file.with_name(f"{file.name}.unfinished")
    begin = 0
    try:
        with tf.io.TFRecordWriter(str(unfinished)) as writer:
            for rows in batches:
                batch = [examples[(begin + row) % len(examples)] for row in range(rows)]
                begin += rows
                log = PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = model_name
                request.model_spec.signature_name = signature
                request.inputs[input_name].CopyFrom(tf.make_tensor_proto(batch, tf.string, [rows]))
                writer.write(log.SerializeToString())
    except tf.errors.OpError as error:
        raise OSError(f"{unfinished}: {error.message}") from error
    os.replace(unfinished, file)
    return len(batches)
