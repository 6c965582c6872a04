"""The requests of a bench: encoded once, sent many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.client import encode_examples, grpc_codec, rest_codec
from serving.client.checks import numpy_dtype
from serving.client.inputs import to_inputs
from serving.client.model_types import Signature, TensorInfo
from serving.client.operations import Arrays, Model, Predict
from tfx_pipeline.errors import DataError

DISTINCT = 256
"""So many different requests are sent in turn."""
_UNKNOWN_SIZE = 1
_SEED = 20260101


def from_rows(
    rows: Sequence[Mapping[str, Any]],
    signature: Signature | None,
    batch_size: int,
    kinds: Mapping[str, str],
    missing_values: Sequence[str],
) -> list[Arrays]:
    """The inputs of up to `DISTINCT` requests of `batch_size` rows each.

    Fewer rows than a request takes are repeated.

    Raises:
        DataError: The rows are not what the signature takes.
    """
    count = min(DISTINCT, max(1, len(rows) // batch_size))
    chosen = [
        [rows[(start * batch_size + index) % len(rows)] for index in range(batch_size)]
        for start in range(count)
    ]
    return [to_inputs(part, signature, kinds, missing_values) for part in chosen]


def synthetic(
    signature: Signature, batch_size: int, kinds: Mapping[str, str] | None = None
) -> list[Arrays]:
    """Random inputs of the signature's dtypes and shapes: the same ones at every call.

    The first size that the signature leaves open is `batch_size`, any other is 1.

    Args:
        signature: What the model takes.
        batch_size: Rows a request.
        kinds: Column name to kind, for a signature that takes tf.Examples.

    Raises:
        DataError: The signature takes tf.Examples and the columns are not known.
    """
    random = np.random.default_rng(_SEED)
    if not signature.examples_input:
        return [
            {
                name: _random_tensor(random, name, info, batch_size)
                for name, info in signature.inputs.items()
            }
            for _ in range(DISTINCT)
        ]
    if not kinds:
        raise DataError(
            "the model takes tf.Examples, and its signature does not tell their columns",
            hint="Give rows (--rows FILE), or the folder it was pushed to (--model-dir).",
        )
    return [
        to_inputs(
            encode_examples(
                [{name: _value(random, kind) for name, kind in kinds.items()}] * batch_size, kinds
            ),
            signature,
        )
        for _ in range(DISTINCT)
    ]


def grpc_calls(
    inputs: Sequence[Arrays], model: Model, signature_name: str
) -> list[grpc_codec.GrpcCall]:
    """One Predict call for each of the inputs."""
    return [grpc_codec.encode(Predict(model, signature_name, part)) for part in inputs]


def rest_calls(
    inputs: Sequence[Arrays], model: Model, signature_name: str
) -> list[rest_codec.RestCall]:
    """One POST of :predict for each of the inputs."""
    return [rest_codec.encode(Predict(model, signature_name, part)) for part in inputs]


def _random_tensor(
    random: np.random.Generator, name: str, info: TensorInfo, batch_size: int
) -> np.ndarray[Any, Any]:
    if info.shape is None:
        raise DataError(
            f"input {name} may have any rank, so no value can be made up",
            hint="Give rows with --rows FILE.",
        )
    shape = [_UNKNOWN_SIZE if size is None else size for size in info.shape]
    if shape and info.shape[0] is None:
        shape[0] = batch_size
    dtype = numpy_dtype(info.dtype)
    if dtype is None:
        raise DataError(
            f"no value can be made up for input {name} of dtype {info.dtype}",
            hint="Give rows with --rows FILE.",
        )
    if dtype.kind == "O":
        return np.full(shape, b"a", dtype=object)
    if dtype.kind in "fc":
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)


def _value(random: np.random.Generator, kind: str) -> Any:
    if kind == "float":
        return float(random.standard_normal())
    return int(random.integers(0, 24)) if kind == "int" else f"value {random.integers(0, 24)}"
