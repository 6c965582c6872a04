"""One loaded TFLite model (`model.tflite` in a version's folder), run by LiteRT.

What `--prefer_tflite_model` loads (servables/tensorflow/tflite_session.cc). An interpreter is for
one thread at a time, so each request takes one of a pool, which grows to as many as run at once.
"""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.server.status import Code, RequestError, invalid_argument
from serving.tensors import DTYPE_NAMES, dtype_number

FILE = "model.tflite"
_PREDICT = "tensorflow/serving/predict"


class TfliteModel:
    """A loaded TFLite model. Its methods may be called from many threads at once.

    Attributes:
        signatures: Signature key to SignatureDef; a model without any gets `serving_default`, with
            the tensors' names.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._idle: queue.SimpleQueue[_Interpreter] = queue.SimpleQueue()
        first = _Interpreter(content)
        self.signatures = first.signatures
        self._idle.put(first)

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
        try:
            interpreter = self._idle.get_nowait()
        except queue.Empty:
            interpreter = _Interpreter(self._content)
        try:
            found = interpreter.run(signature, inputs)
        except (RuntimeError, ValueError) as error:
            raise invalid_argument(str(error)) from error
        finally:
            self._idle.put(interpreter)
        return {alias: found[alias] for alias in outputs}

    def close(self) -> None:
        """Frees the interpreters. No call may be running or follow."""
        while not self._idle.empty():
            self._idle.get_nowait()


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
    """One interpreter, and its runner for each signature."""

    def __init__(self, content: bytes) -> None:
        self._interpreter = Interpreter(model_content=content)
        names = list(self._interpreter.get_signature_list())
        if names:
            self._runners = {name: self._interpreter.get_signature_runner(name) for name in names}
            self.signatures = {
                name: _signature(runner.get_input_details(), runner.get_output_details())
                for name, runner in self._runners.items()
            }
        else:
            self._runners = {}
            self._interpreter.allocate_tensors()
            inputs = _by_name(self._interpreter.get_input_details())
            outputs = _by_name(self._interpreter.get_output_details())
            self.signatures = {"serving_default": _signature(inputs, outputs)}

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray[Any, Any]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        if self._runners:
            # Copies, for the arrays are views of memory that the next run writes to.
            found = self._runners[signature](**inputs)
            return {alias: np.array(value) for alias, value in found.items()}
        for alias, tensor in _by_name(self._interpreter.get_input_details()).items():
            self._interpreter.resize_tensor_input(tensor["index"], inputs[alias].shape)
        self._interpreter.allocate_tensors()
        for alias, tensor in _by_name(self._interpreter.get_input_details()).items():
            self._interpreter.set_tensor(tensor["index"], inputs[alias])
        self._interpreter.invoke()
        return {
            alias: self._interpreter.get_tensor(tensor["index"])
            for alias, tensor in _by_name(self._interpreter.get_output_details()).items()
        }


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
    return {str(tensor["name"]).partition(":")[0]: tensor for tensor in details}


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
