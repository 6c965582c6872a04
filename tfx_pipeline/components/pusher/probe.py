"""Asks the server in production for the version that was just pushed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.client import Client
from serving.server.warmup import WARMUP_FILE
from tfx_pipeline.errors import AssayError, ServingError

_KEY = "assay_probe"
_REQUEST_S = 10.0


@dataclass(frozen=True)
class Probe:
    """Whom to ask, and for how long.

    Attributes:
        address: host:port (gRPC) of a server that reads the folder that is pushed to.
        model_name: The model's name there.
        timeout_s: Bound on the wait for the version.
    """

    address: str
    model_name: str
    timeout_s: float

    def to_custom_config(self) -> dict[str, Any]:
        """As the stock Pusher's `custom_config`, which executors of other destinations ignore."""
        return {_KEY: dataclasses.asdict(self)}

    @classmethod
    def read(cls, custom_config: Mapping[str, Any] | None) -> Probe | None:
        """What `to_custom_config` made; None where nobody is to be asked."""
        given = (custom_config or {}).get(_KEY)
        return cls(**given) if given else None


def ask(probe: Probe, version: Path) -> None:
    """Waits until the server serves the version, then sends it the first of its warm-up requests.

    Args:
        probe: Whom to ask.
        version: The version's folder, named by its number.

    Raises:
        ServingError: The version did not become available in time, or answers with an error or
            with numbers that are not finite.
    """
    number = int(version.name)
    with Client(probe.address, timeout_s=min(probe.timeout_s, _REQUEST_S)) as client:
        client.wait_ready(probe.model_name, probe.timeout_s, version=number)
        rows = _warmup_rows(version)
        if not rows:
            return  # Pushed without the serving gate: that it is available has to do.
        answer = client.predict(probe.model_name, rows, version=number)
    for name, values in answer.items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise ServingError(f"its answer to a held-out row has {name} {values.ravel()[:3]}")


def wait_for(probe: Probe, number: str) -> bool:
    """Whether the server came to serve a version in the time of the probe."""
    try:
        with Client(probe.address, timeout_s=min(probe.timeout_s, _REQUEST_S)) as client:
            client.wait_ready(probe.model_name, probe.timeout_s, version=int(number))
    except AssayError:
        return False
    return True


def _warmup_rows(version: Path) -> list[bytes]:
    """The rows of the first warm-up request that the version brings."""
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    file = version / WARMUP_FILE
    if not file.exists():
        return []
    for record in tf.data.TFRecordDataset(str(file)).take(1).as_numpy_iterator():
        inputs = PredictionLog.FromString(record).predict_log.request.inputs
        return [row for tensor in inputs.values() for row in tensor.string_val]
    return []
