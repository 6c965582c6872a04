"""What a transport is asked to do: one dataclass for each request of the protocol.

The steps of a call (`steps`) yield them; gRPC (`grpc_codec`) and REST (`rest_codec`) know how each
one travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.client.model_types import Signature

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Model:
    """The model that is meant, as the protocol's ModelSpec: the latest version unless a version
    or a label (`canary`) is given."""

    name: str
    version: int | None = None
    label: str = ""


@dataclass(frozen=True)
class Predict:
    """Answered with output name to array.

    Attributes:
        model: The model.
        signature_name: The signature to run.
        inputs: Input name to array.
        signature: What is known of the signature. REST needs it: JSON carries no dtypes, and no
            name for a single output.
    """

    model: Model
    signature_name: str
    inputs: Arrays
    signature: Signature | None = None


@dataclass(frozen=True)
class Classify:
    """Answered with a list of `ClassScore` for each Example."""

    model: Model
    signature_name: str
    examples: Sequence[bytes]


@dataclass(frozen=True)
class Regress:
    """Answered with a float32 array, a value for each Example."""

    model: Model
    signature_name: str
    examples: Sequence[bytes]


@dataclass(frozen=True)
class GetStatus:
    """Answered with a list of `VersionStatus`."""

    model: Model


@dataclass(frozen=True)
class GetMetadata:
    """Answered with signature name to `Signature`."""

    model: Model


@dataclass(frozen=True)
class ListModels:
    """Answered with model name to a list of `VersionStatus`."""

    model: Model = field(default=Model(""))


@dataclass(frozen=True)
class Pause:
    """Nothing is asked for a while; the answer is None."""

    seconds: float


Operation = Predict | Classify | Regress | GetStatus | GetMetadata | ListModels
