"""What Classify and Regress ask of a signature, and how its outputs become their results.

Codes and messages are those of classifier.cc, regressor.cc and util.cc of tensorflow/serving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import Class, ClassificationResult
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import Regression, RegressionResult

from serving.server.status import invalid_argument
from serving.tensors import dtype_number

INPUT = "inputs"
"""The alias of the one input, a vector of serialized tf.Examples (signature_constants.h)."""

_CLASSES, _SCORES, _REGRESSIONS = "classes", "scores", "outputs"
_FLOAT, _STRING = 1, 7


@dataclass(frozen=True)
class ExampleMethod:
    """Classify or Regress.

    Attributes:
        name: The `method_name` that a signature for it states.
        outputs: The signature's output aliases to run; raises RequestError if it does not fit.
        write: Fills the method's result from those outputs, by alias, for so many examples.
    """

    name: str
    kind: str
    outputs: Callable[[SignatureDef], list[str]]
    write: Callable[[Any, Mapping[str, np.ndarray[Any, Any]], int], None]

    def check_name(self, signature: SignatureDef) -> None:
        """Raises `RequestError` unless the signature says that it is for this method."""
        if signature.method_name != self.name:
            raise invalid_argument(
                f"Expected {self.kind} signature method_name to be {self.name}. "
                f"Was: {signature.method_name}"
            )


def read_examples(sent: Input) -> np.ndarray[Any, Any]:
    """The serialized tf.Examples of a request, shape (examples,), object array of bytes.

    A context's features are merged into each example by putting its bytes before the example's,
    so a feature of the example wins.

    Raises:
        RequestError: INVALID_ARGUMENT: there is none.
    """
    context = b""
    examples = sent.example_list.examples
    if sent.WhichOneof("kind") == "example_list_with_context":
        context = sent.example_list_with_context.context.SerializeToString()
        examples = sent.example_list_with_context.examples
    if not examples:
        raise invalid_argument("Input is empty.")
    array = np.empty(len(examples), object)
    array[:] = [context + example.SerializeToString() for example in examples]
    return array


def _classify_outputs(signature: SignatureDef) -> list[str]:
    _check_one_input(signature)
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(
            f"Expected one or two output Tensors, found {len(signature.outputs)}"
        )
    _check_input_alias(signature, "classification")
    present = [alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not present:
        raise invalid_argument(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature}'
        )
    return present


def _regress_outputs(signature: SignatureDef) -> list[str]:
    _check_one_input(signature)
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    _check_input_alias(signature, "regression")
    if _REGRESSIONS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")
    return [_REGRESSIONS]


def _check_one_input(signature: SignatureDef) -> None:
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")


def _check_input_alias(signature: SignatureDef, kind: str) -> None:
    if INPUT not in signature.inputs:
        raise invalid_argument(f"No {kind} inputs found in SignatureDef: {signature}")


def _write_classifications(
    result: ClassificationResult, outputs: Mapping[str, np.ndarray[Any, Any]], count: int
) -> None:
    classes, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
    for array, name, dtype in ((classes, _CLASSES, _STRING), (scores, _SCORES, _FLOAT)):
        if array is not None:
            _check_classes_or_scores(array, name, dtype, count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    for row in range(count):
        one = result.classifications.add().classes
        labels = [] if classes is None else [_text(label) for label in classes[row].tolist()]
        if scores is None:
            one.extend([Class(label=label) for label in labels])
        elif classes is None:
            one.extend([Class(score=score) for score in scores[row].tolist()])
        else:
            pairs = zip(labels, scores[row].tolist(), strict=True)
            one.extend([Class(label=label, score=score) for label, score in pairs])


def _check_classes_or_scores(
    array: np.ndarray[Any, Any], name: str, dtype: int, count: int
) -> None:
    if array.ndim != 2:
        raise invalid_argument(
            f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
        )
    if dtype_number(array) != dtype:
        raise invalid_argument(
            f"Expected {name} Tensor of {DataType.Name(dtype)}. Got: {_dtype(array)}"
        )
    if array.shape[0] != count:
        raise invalid_argument(
            f"Expected {name} output batch size of {count}. Got: {array.shape[0]}"
        )


def _write_regressions(
    result: RegressionResult, outputs: Mapping[str, np.ndarray[Any, Any]], count: int
) -> None:
    array = outputs[_REGRESSIONS]
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            f"but got {_shape(array)}"
        )
    if array.shape[0] != count:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}"
        )
    if dtype_number(array) != _FLOAT:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    result.regressions.extend([Regression(value=value) for value in array.ravel().tolist()])


def _text(label: bytes) -> str:
    return label.decode(errors="replace")  # the field is text; a model's bytes may be none


def _shape(array: np.ndarray[Any, Any]) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _dtype(array: np.ndarray[Any, Any]) -> str:
    return str(DataType.Name(dtype_number(array)))


CLASSIFY = ExampleMethod(
    "tensorflow/serving/classify", "classification", _classify_outputs, _write_classifications
)
REGRESS = ExampleMethod(
    "tensorflow/serving/regress", "regression", _regress_outputs, _write_regressions
)
