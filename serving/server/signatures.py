"""What a model says of itself, and what is worked out of that once and not for each request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo


@dataclass(frozen=True, slots=True)
class Plan:
    """One signature.

    Attributes:
        definition: As the model states it.
        inputs: Input aliases, sorted, and what each is.
        outputs: Output aliases, sorted.
    """

    definition: SignatureDef
    inputs: tuple[tuple[str, TensorInfo], ...]
    outputs: tuple[str, ...]


class Signatures(dict[str, SignatureDef]):
    """Signature key to SignatureDef. It does not change."""

    def __init__(self, definitions: Mapping[str, SignatureDef]) -> None:
        super().__init__(definitions)
        self._plans = {key: _plan(definition) for key, definition in self.items()}

    def plan(self, key: str) -> Plan | None:
        """The plan of a signature; None: there is none of that key."""
        return self._plans.get(key)


def _plan(definition: SignatureDef) -> Plan:
    inputs = tuple((alias, definition.inputs[alias]) for alias in sorted(definition.inputs))
    return Plan(definition, inputs, tuple(sorted(definition.outputs)))
