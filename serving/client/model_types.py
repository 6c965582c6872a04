"""What a server says of its models: states, signatures, classes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VersionStatus:
    """Where one version of a model stands; `message` says why a load failed."""

    version: int
    state: str
    message: str = ""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output: dtype as TensorFlow names it, and shape with None for any size (the
    shape itself None when the rank is not known)."""

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} of any shape"
        return f"{self.dtype} [{', '.join('?' if n is None else str(n) for n in self.shape)}]"


@dataclass(frozen=True)
class Signature:
    """A signature's inputs and outputs by name, and the inputs that may be left out."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    optional: frozenset[str] = frozenset()

    @property
    def required(self) -> list[str]:
        """The inputs that have no default."""
        return [name for name in self.inputs if name not in self.optional]

    @property
    def examples_input(self) -> str:
        """The input that takes serialized tf.Examples: the only one, a vector of strings. "" where
        the signature takes tensors."""
        if len(self.inputs) == 1:
            [(name, info)] = self.inputs.items()
            if info.dtype == "string" and (info.shape is None or len(info.shape) == 1):
                return name
        return ""


@dataclass(frozen=True)
class ClassScore:
    """One class of a classification."""

    label: str
    score: float
