"""A loaded version of a model, and who is using it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np

from serving.server.signatures import Signatures


class Servable(Protocol):
    """What answers requests: a SavedModel, or a TFLite model.

    Attributes:
        signatures: Signature key to SignatureDef.
    """

    signatures: Signatures

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Runs one signature; see `saved_model.SavedModel.run`."""

    def close(self) -> None:
        """Frees what it holds. No call may be running or follow."""


def run_together(
    model: Servable,
    runs: Mapping[str, Sequence[str]],
    inputs: Mapping[str, np.ndarray[Any, Any]],
) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Runs several signatures on the same inputs: in one call, where the model can.

    Args:
        model: Leased.
        runs: Signature key to output aliases.
        inputs: Of each signature.

    Returns:
        For each signature, in the order of `runs`, as `Servable.run`.
    """
    together = getattr(model, "run_together", None)
    if together is None:
        return [model.run(key, inputs, outputs) for key, outputs in runs.items()]
    found: list[dict[str, np.ndarray[Any, Any]]] = together(runs, inputs)
    return found


class State(IntEnum):
    """`ModelVersionStatus.State`, with the protocol's numbers."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """Where a version stands; `code` and `message` say why a load failed (0 and empty: it did
    not)."""

    state: State
    code: int = 0
    message: str = ""


@dataclass
class Loaded:
    """A version in memory. `requests` counts those in flight; `retired` takes no new ones."""

    version: int
    model: Servable
    requests: int = 0
    retired: bool = False
