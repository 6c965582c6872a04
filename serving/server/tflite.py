"""One loaded TFLite model (`model.tflite` in a version's folder), run by LiteRT.

What `--prefer_tflite_model` loads (servables/tensorflow/tflite_session.cc). An interpreter is for
one thread at a time, so each request takes one of a pool, which grows to as many as run at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.server.signatures import Signatures
from serving.server.status import Code, RequestError, invalid_argument
from serving.tensors import DTYPE_NAMES, dtype_number

FILE = "model.tflite"
_DEFAULT = "serving_default"
_PREDICT = "tensorflow/serving/predict"


class TfliteModel:
    """A loaded TFLite model. Its methods may be called from many threads at once.

    Args:
        content: The file's.
        threads: Within an op; None: LiteRT's default, one.

    Attributes:
        signatures: Signature key to SignatureDef; a model without any gets `serving_default`, with
            the tensors' names.
    """

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        self._content = content
        self._threads = threads
        # The last one used is the first one taken: its memory fits the same number of rows.
        self._idle: deque[_Interpreter] = deque()
        first = _Interpreter(content, threads)
        self.signatures = Signatures(first.signatures)
        self._idle.append(first)

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Runs one signature; see `saved_model.SavedModel.run`.

        Raises:
            RequestError: A dtype or shape does not fit.
        """
        for alias, array in inputs.items():
            expected, sent = self.signatures[signature].inputs[alias].dtype, dtype_number(array)
            if sent != expected:
                raise invalid_argument(
                    f"Expects {alias} to be {DTYPE_NAMES.get(expected)} "
                    f"but {DTYPE_NAMES.get(sent)} is provided"
                )
            _check_shape(alias, array, self.signatures[signature].inputs[alias])
        found = self.compute(signature, inputs)
        return {alias: found[alias] for alias in outputs}

    def compute(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """All outputs of a signature, for inputs whose dtypes and shapes are known to fit.

        Raises:
            RequestError: LiteRT refuses the values.
        """
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = _Interpreter(self._content, self._threads)
        try:
            return interpreter.run(signature, inputs)
        except (RuntimeError, ValueError) as error:
            raise invalid_argument(str(error)) from error
        finally:
            self._idle.append(interpreter)

    def close(self) -> None:
        """Frees the interpreters. No call may be running or follow."""
        self._idle.clear()


def load(path: Path) -> TfliteModel:
    """Loads `model.tflite` in a folder.

    Raises:
        RequestError: It cannot be loaded; the message says why.
    """
    try:
        return TfliteModel((path / FILE).read_bytes())
    except OSError as error:
        raise RequestError(Code.NOT_FOUND, f"{path / FILE}: {error.strerror}") from error
    except (RuntimeError, ValueError) as error:
        raise RequestError(Code.INVALID_ARGUMENT, f"{path / FILE}: {error}") from error


class _Interpreter:
    """One interpreter, and how its signatures are run."""

    def __init__(self, content: bytes, threads: int | None) -> None:
        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        names = list(self._interpreter.get_signature_list())
        # A runner keeps the interpreter from being called in any other way.
        runners = {name: self._interpreter.get_signature_runner(name) for name in names}
        sides = {
            name: (runner.get_input_details(), runner.get_output_details())
            for name, runner in runners.items()
        } or {
            _DEFAULT: (
                _by_name(self._interpreter.get_input_details()),
                _by_name(self._interpreter.get_output_details()),
            )
        }
        self.signatures = {name: _signature(*side) for name, side in sides.items()}
        self._runners = runners if len(runners) > 1 else {}
        del runners
        ((inputs, outputs), *_) = sides.values()
        self._inputs = [(alias, tensor["index"]) for alias, tensor in inputs.items()]
        self._outputs = [(alias, tensor["index"]) for alias, tensor in outputs.items()]
        if not self._runners:
            self._interpreter.allocate_tensors()

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        if self._runners:
            # Copies, for the arrays are views of memory that the next run writes to.
            found = self._runners[signature](**inputs)
            return {alias: np.array(value) for alias, value in found.items()}
        # What a runner does, but the memory is kept while the shapes are the same: for one row a
        # quarter of the time. LiteRT itself compares the shapes.
        interpreter = self._interpreter
        try:
            self._feed(inputs)
        except ValueError:
            for alias, index in self._inputs:
                interpreter.resize_tensor_input(index, inputs[alias].shape)
            interpreter.allocate_tensors()
            self._feed(inputs)
        interpreter.invoke()
        return {alias: interpreter.get_tensor(index) for alias, index in self._outputs}

    def _feed(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
        set_tensor = self._interpreter.set_tensor
        for alias, index in self._inputs:
            set_tensor(index, inputs[alias])


def _check_shape(alias: str, array: np.ndarray[Any, Any], expected: TensorInfo) -> None:
    """An interpreter would be resized to whatever comes, and compute something else."""
    sizes = [dim.size for dim in expected.tensor_shape.dim]
    if len(sizes) != array.ndim or any(
        size not in (-1, given) for size, given in zip(sizes, array.shape, strict=True)
    ):
        raise invalid_argument(
            f"{alias} has shape {list(array.shape)}, and {sizes} is expected (-1: any size)"
        )


def _by_name(details: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(tensor["name"]).removesuffix(":0"): tensor for tensor in details}


def _signature(
    inputs: Mapping[str, Mapping[str, Any]], outputs: Mapping[str, Mapping[str, Any]]
) -> SignatureDef:
    signature = SignatureDef(method_name=_PREDICT)
    for side, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for alias, tensor in tensors.items():
            side[alias].CopyFrom(_tensor_info(tensor))
    return signature


def _tensor_info(tensor: Mapping[str, Any]) -> TensorInfo:
    info = TensorInfo(name=str(tensor["name"]), dtype=dtype_number(np.empty(0, tensor["dtype"])))
    sizes = tensor["shape_signature"] if len(tensor["shape_signature"]) else tensor["shape"]
    for size in sizes:
        info.tensor_shape.dim.add(size=int(size))
    return info
