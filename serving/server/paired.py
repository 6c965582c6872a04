"""A SavedModel with a compressed core beside it, run as one model.

The SavedModel's signature `core_inputs` turns tf.Examples into the inputs of
`assets.extra/core.tflite`, LiteRT runs that, and `core_answer` makes of its predictions what
`serving_default` answers. Every other signature is the SavedModel's own. A core that is damaged, or
does not fit, fails the load: the SavedModel's own graph could answer in its place, and nobody would
know what is being served.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

from serving.server import saved_model
from serving.server.saved_model import DEFAULT_SIGNATURE, LoadOptions, SavedModel
from serving.server.status import Code, RequestError, invalid_argument
from serving.tensors import DTYPE_NAMES

if TYPE_CHECKING:
    from serving.server.tflite import TfliteModel

DESCRIPTION = "assets.extra/assay_core.json"
CORE = "assets.extra/core.tflite"
FORMAT = 1
_FRONT, _ANSWER = "core_inputs", "core_answer"

Arrays = dict[str, np.ndarray[Any, Any]]


class PairedModel:
    """A loaded pair. Its methods may be called from many threads at once.

    Args:
        plain: The SavedModel; is closed with this one.
        core: The core; likewise.
        names: The core's name of each output of `core_inputs`.

    Attributes:
        signatures: The SavedModel's, as tensorflow_model_server would state them.
    """

    def __init__(self, plain: SavedModel, core: TfliteModel, names: Mapping[str, str]) -> None:
        self.signatures = plain.signatures
        self._plain = plain
        self._core = core
        self._core_signature = next(iter(core.signatures))
        self._core_inputs = tuple(names.values())
        self._front = plain.bind(_FRONT, tuple(names))
        self._answer = plain.bind(_ANSWER, tuple(plain.signatures[_ANSWER].outputs))

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str]
    ) -> Arrays:
        """As `saved_model.SavedModel.run`; `serving_default` by way of the core."""
        if signature != DEFAULT_SIGNATURE:
            return self._plain.run(signature, inputs, outputs)
        features = dict(zip(self._core_inputs, self._front(inputs).values(), strict=True))
        answer = self._answer(self._core.compute(self._core_signature, features))
        return {alias: answer[alias] for alias in outputs}

    def close(self) -> None:
        """Frees the session and the interpreters. No call may be running or follow."""
        del self._front, self._answer
        self._core.close()
        self._plain.close()


def is_pair(path: Path) -> bool:
    """Whether there is a core, or the description of one, in a version's folder."""
    return (path / DESCRIPTION).exists() or (path / CORE).exists()


def load(path: Path, options: LoadOptions | None = None) -> PairedModel:
    """Loads the pair in a folder.

    Raises:
        RequestError: It cannot be loaded; the message says why. DATA_LOSS: the core is not the one
            that was written. FAILED_PRECONDITION: LiteRT is not installed. INVALID_ARGUMENT: core
            and SavedModel do not fit together.
    """
    options = options or LoadOptions()
    content, names = _read_core(path)
    try:
        from serving.server import tflite
    except ImportError as error:
        raise RequestError(
            Code.FAILED_PRECONDITION,
            f"{path / CORE} needs LiteRT, and it cannot be imported ({error}): install "
            "ai-edge-litert, or serve the SavedModel's own graph with --prefer_core=false",
        ) from error
    try:
        core = tflite.TfliteModel(content, threads=options.intra_op_threads or None)
    except (RuntimeError, ValueError) as error:
        raise invalid_argument(f"{path / CORE}: {error}") from error
    plain = saved_model.load(path, options)
    try:
        _check_fit(path, plain, core, names)
        return PairedModel(plain, core, names)
    except BaseException:
        plain.close()
        core.close()
        raise


@dataclass(frozen=True)
class _Tensor:
    dtype: int
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{DTYPE_NAMES.get(self.dtype, self.dtype)} {list(self.sizes)}"


def _read_core(path: Path) -> tuple[bytes, dict[str, str]]:
    """The core's bytes, which are those that the description was made for, and its inputs' names by
    those that the SavedModel has for them."""
    try:
        described = json.loads((path / DESCRIPTION).read_bytes())
        number, sha256 = described["format"], described["sha256"]
        names = {str(name): str(core_name) for name, core_name in described["inputs"].items()}
        content = (path / CORE).read_bytes()
    except OSError as error:
        raise RequestError(Code.NOT_FOUND, f"{error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            Code.DATA_LOSS, f"{path / DESCRIPTION} is damaged: {type(error).__name__}: {error}"
        ) from error
    if number != FORMAT:
        raise RequestError(
            Code.UNIMPLEMENTED,
            f"{path / DESCRIPTION} is of format {number!r}, and this server reads {FORMAT}",
        )
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise RequestError(
            Code.DATA_LOSS,
            f"{path / CORE} is damaged: its SHA-256 is {found}, and {sha256} was written",
        )
    return content, names


def _check_fit(path: Path, plain: SavedModel, core: TfliteModel, names: Mapping[str, str]) -> None:
    """Raises `RequestError` unless front, core and answer take what the one before gives."""
    for name in (DEFAULT_SIGNATURE, _FRONT, _ANSWER):
        if name not in plain.signatures:
            raise invalid_argument(f"{path} has a core, but no signature {name}")
    front, answer = plain.signatures[_FRONT], plain.signatures[_ANSWER]
    default = plain.signatures[DEFAULT_SIGNATURE]
    (definition,) = list(core.signatures.values())[:1]
    core_inputs = _tensors(definition.inputs)
    named = {name: core_inputs.pop(core_name, None) for name, core_name in names.items()}
    takes = {name: tensor for name, tensor in named.items() if tensor} | core_inputs
    for said, given, taken in (
        (f"{_FRONT} gives", _tensors(front.outputs), takes),
        ("the core gives", _tensors(definition.outputs), _tensors(answer.inputs)),
        (f"{DEFAULT_SIGNATURE} takes", _tensors(default.inputs), _tensors(front.inputs)),
        (f"{_ANSWER} gives", _tensors(answer.outputs), _tensors(default.outputs)),
    ):
        if given.keys() != taken.keys():
            others = ", ".join(sorted(given.keys() ^ taken.keys()))
            raise invalid_argument(f"{path}: the core does not fit: {said} others: {others}")
        for name, tensor in given.items():
            if not _fits(tensor, taken[name]):
                raise invalid_argument(
                    f"{path}: the core does not fit: {said} {name} as {tensor}, and "
                    f"{taken[name]} is expected"
                )


def _tensors(side: Mapping[str, TensorInfo]) -> dict[str, _Tensor]:
    return {
        name: _Tensor(info.dtype, tuple(int(dim.size) for dim in info.tensor_shape.dim))
        for name, info in side.items()
    }


def _fits(given: _Tensor, taken: _Tensor) -> bool:
    return (
        given.dtype == taken.dtype
        and len(given.sizes) == len(taken.sizes)
        and all(
            -1 in (size, other) or size == other
            for size, other in zip(given.sizes, taken.sizes, strict=True)
        )
    )
