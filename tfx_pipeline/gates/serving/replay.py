"""All held-out rows through a server, over gRPC, as raw tf.Examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.client import Client
from tfx_pipeline.errors import ServingError

OUTPUT = "predictions"


def replay(
    client: Client, model_name: str, serialized: Sequence[bytes], batch_rows: int
) -> npt.NDArray[np.float64]:
    """The server's predictions, [N] or [N, outputs], in the order of the rows.

    Raises:
        ServingError: The server refuses, takes too long, or answers something else.
    """
    answer: dict[str, npt.NDArray[Any]] = client.predict(
        model_name, list(serialized), batch_size=batch_rows
    )
    if OUTPUT not in answer:
        raise ServingError(f"it answers no {OUTPUT!r}, only {', '.join(sorted(answer))}")
    predictions = np.asarray(answer[OUTPUT], np.float64)
    if len(predictions) != len(serialized):
        raise ServingError(f"it answers {len(predictions)} predictions to {len(serialized)} rows")
    return as_rows(predictions)


def as_rows(predictions: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[N] for one prediction a row, else [N, outputs]."""
    table = predictions.reshape(len(predictions), -1)
    return table[:, 0] if table.shape[1] == 1 else table
