"""A model's dense core in TFLite, in each kind of numbers, compared with its source on real rows.

The core is what stands between the model's inputs (transformed features) and its predictions; the
string lookups and the parsing of tf.Examples in front of it do not convert. A converter that ends
without error proves nothing: a core counts only once LiteRT answers with it as its source does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorflow.core.function.polymorphism.function_type import sanitize_arg_name

from tfx_pipeline.errors import AssayError, NodeFailed
from trainer.compression import calibrate
from trainer.compression.calibrate import Arrays
from trainer.compression.candidate import Compressed, Numbers
from trainer.compression.context import Context
from trainer.compression.float_dense import float_dense
from trainer.compression.float_head import float_head
from trainer.compression.inspect_core import inspect
from trainer.compression.pair import trained_quantized
from trainer.compression.quiet import quiet
from trainer.compression.slim import slim
from trainer.input import first_rows

if TYPE_CHECKING:
    import tf_keras

COMPARED_ROWS = 256
"""Real rows that a core is compared on."""
# Times the RMS difference that still counts as near: what int8 does to activations is more, and
# the scales of units are a tenth of a small core.
_NEAR = 1.25
# Times that of a float core, as `CompressConfig.tolerance` says. Where the answers are steep, a few
# steps of an int8 logit are 0.2 of a probability (seen; the AUC was the same), and what the
# converter broke was off by 0.46.
_QUANTIZED_TOLERANCE = 250


@dataclass(frozen=True)
class Core:
    """A converted core.

    Attributes:
        content: The TFLite model. One signature: inputs as the model's (or what TensorFlow makes of
            a name that is no identifier), float32 and int64 as there; output `predictions`,
            float32. Any number of rows.
        max_difference: Largest absolute difference of its predictions to its source's, on
            `COMPARED_ROWS` real rows.
        notes: What stayed in float, and what the calibration or the comparison lacked.
    """

    content: bytes
    max_difference: float
    notes: tuple[str, ...] = ()


def convert(
    compressed: Compressed, context: Context, representative_rows: int | None = None
) -> Core:
    """Converts a model to TFLite and proves the core on rows that calibration did not see.

    Where there are no such rows, a note says so.

    Not for several threads at once: the converter keeps state of its own for the whole process.

    Args:
        compressed: The model, and the numbers its core is to compute with. A model of
            quantization-aware training becomes int8 with the ranges that it learned, and its
            source is itself, with its fake-quant nodes.
        context: `rows` to calibrate on, `val_split` to compare on (without one: `rows` behind those
            that are calibrated on), and `tolerance`.
        representative_rows: Rows to calibrate int8 and int16x8 on; None: all of `context.rows`.

    Returns:
        The core, without what only a converter reads. In int8 each filter of a convolution has a
        scale of its own; each unit of a Dense layer has one only where that brings the answers
        much nearer, at 16 bytes a unit.

    Raises:
        NodeFailed: There is no such core; the headline says why: too few representative rows, a
            layer that does not convert, weights that are not finite, nothing that was quantized,
            or a core that answers NaN, or otherwise than its source.
    """
    model, numbers = compressed.model, compressed.numbers
    _core_names(model)
    _check_weights(model)
    calibration: list[Arrays] = []
    notes: tuple[str, ...] = ()
    trained = trained_quantized(model)
    if trained:
        if numbers != "int8":
            raise NodeFailed(
                f"{model.name!r} was trained for int8 and has no core in {numbers}",
                hint="Start the candidate from the model before quantization-aware training.",
            )
    elif numbers in ("int8", "int16x8"):
        calibration, notes = calibrate.representative_rows(model, context, representative_rows)
    seen = representative_rows if calibration or trained else 0
    rows, wanted, more = _source(model, context, seen)
    notes += more
    content = _finished(_converted(model, numbers, calibration), model.name, trained=trained)
    found = _answers(model, content, rows)
    if numbers == "int8" and calibration:
        smaller = _converted(model, numbers, calibration, scale_a_unit=False)
        smaller = _finished(smaller, model.name)
        answers = _answers(model, smaller, rows)
        if _rms(answers - wanted) <= _NEAR * _rms(found - wanted):
            content, found = smaller, answers
    with _known_error("look into", model.name):
        notes += inspect(content, numbers, model.name)
    return Core(content, _compare(model.name, numbers, found, wanted, context.tolerance), notes)


def _converted(
    model: tf_keras.Model,
    numbers: Numbers,
    calibration: list[Arrays],
    *,
    scale_a_unit: bool = True,
) -> bytes:
    """The TFLite model as the converter makes it.

    Settings: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_quantization
    """
    import tensorflow as tf

    names = _core_names(model)
    specs = {
        names[name]: tf.TensorSpec(tensor.shape, tensor.dtype, name=names[name])
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    }

    @tf.function(autograph=False)
    def core(**given: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = {name: given[core_name] for name, core_name in names.items()}
        return {"predictions": model(inputs, training=False)}

    module = tf.Module()
    module.variables_of_the_model = model.variables
    try:
        with quiet():
            function = core.get_concrete_function(**specs)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
            if numbers != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if numbers == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if calibration:
                renamed = [{names[n]: row[n] for n in names} for row in calibration]
                converter.representative_dataset = lambda: iter(renamed)
                # An op that has no integer kernel stays in float, and a note says so.
                ops = [_integer_ops(numbers), tf.lite.OpsSet.TFLITE_BUILTINS]
                converter.target_spec.supported_ops = ops
                switch = "_experimental_disable_per_channel_quantization_for_dense_layers"
                setattr(converter, switch, not scale_a_unit)
            return bytes(converter.convert())
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise NodeFailed(
            f"TFLite cannot convert {model.name!r} to {numbers}: {said[0][:300]}",
            hint="Its own reason is in the log. Replace the layer that it names.",
        ) from error


def _finished(core: bytes, name: str, *, trained: bool = False) -> bytes:
    with _known_error("finish", name):
        # What is trained for int8 answers as its fake-quant nodes round.
        return slim(float_head(core if trained else float_dense(core)))


@contextmanager
def _known_error(what: str, name: str) -> Iterator[None]:
    """An error of a step after the conversion is a core that cannot be had, like any other: a
    candidate in float32 is served without."""
    try:
        yield
    except AssayError:
        raise
    except Exception as error:
        raise NodeFailed(
            f"Assay cannot {what} the core of {name!r}: {type(error).__name__}: {str(error)[:200]}",
            hint="The log has the traceback. Report it with the model's summary.",
        ) from error


def _integer_ops(numbers: Numbers) -> Any:
    import tensorflow as tf

    if numbers == "int16x8":
        return tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    return tf.lite.OpsSet.TFLITE_BUILTINS_INT8


def _core_names(model: tf_keras.Model) -> dict[str, str]:
    """The core's name for each input of the model: TensorFlow takes identifiers only."""
    names = {name: sanitize_arg_name(name) for name in model.input_names}
    if len(set(names.values())) < len(names):
        twice = sorted(name for name in names if list(names.values()).count(names[name]) > 1)
        raise NodeFailed(
            f"the inputs {' and '.join(map(repr, twice))} have one name as identifiers",
            hint="Name the columns with letters, digits and underscores.",
        )
    return names


def _check_weights(model: tf_keras.Model) -> None:
    """Looked at here, too: the CPU's ReLU turns NaN into 0, in the source as in the core."""
    for variable, value in zip(model.weights, model.get_weights(), strict=True):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise NodeFailed(
                f"weights of {variable.name.split(':')[0]} are NaN or infinite",
                where=f"model {model.name}",
                hint="Train with a lower learning_rate, and look for NaN in the features.",
            )


def _source(
    model: tf_keras.Model, context: Context, seen: int | None
) -> tuple[Arrays, np.ndarray, tuple[str, ...]]:
    """Rows to compare on, what the model answers, and a note if ranges were taken from these rows.

    Args:
        model: The core's source.
        context: Without a `val_split`, the last of its `rows` are compared on.
        seen: How many of `context.rows` calibration saw, from the first on; None: all.
    """
    notes: tuple[str, ...] = ()
    if context.val_split is not None:
        rows = first_rows(context.val_split, COMPARED_ROWS)
    else:
        total = min(len(context.rows[name]) for name in model.input_names)
        seen = total if seen is None else min(seen, total)
        start = min(seen, max(0, total - COMPARED_ROWS))
        rows = {name: context.rows[name][start:] for name in model.input_names}
        if start < seen:
            compared = min(COMPARED_ROWS, total - start)
            notes = (
                f"compared on {compared} rows, of which calibration saw {seen - start}, too: there "
                "is no val split",
            )
    rows = {name: rows[name][:COMPARED_ROWS] for name in model.input_names}
    wanted = np.asarray(model(rows, training=False))
    if not np.isfinite(wanted).all():
        raise NodeFailed(
            f"{model.name!r} answers NaN or infinity, before any conversion",
            hint="Look for NaN in the features and in the weights.",
        )
    return rows, wanted, notes


def _compare(
    name: str, numbers: Numbers, found: np.ndarray, wanted: np.ndarray, tolerance: float
) -> float:
    """The largest difference of the core's predictions to its source's."""
    lost = int((~np.isfinite(found)).any(axis=1).sum())
    if lost:
        raise NodeFailed(
            f"{name!r} answers NaN or infinity after conversion to {numbers}, in {lost} of "
            f"{len(found)} rows",
            hint="float16 ends at 65504: scale the features and weights, or choose other numbers."
            if numbers == "float16"
            else "Choose other numbers, or drop the candidate.",
        )
    difference = float(np.abs(found - wanted).max())
    # A model that answers nearly the same for all rows is measured by what it answers.
    spread = max(float(np.ptp(wanted)), 1e-3 * float(np.abs(wanted).max())) or 1.0
    if numbers != "float32":
        tolerance *= _QUANTIZED_TOLERANCE
    if difference > tolerance * spread:
        raise NodeFailed(
            f"{name!r} answers otherwise after conversion to {numbers}: by up to "
            f"{difference:.3g}, which is {difference / spread:.2%} of the answers' spread of "
            f"{spread:.3g}, and {tolerance:.2%} are allowed",
            hint="Train it for int8 (method: qat), choose other numbers, or raise "
            "compress.tolerance.",
        )
    return difference


def _rms(differences: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(differences))))


def _answers(model: tf_keras.Model, core: bytes, rows: Arrays) -> np.ndarray:
    """The core's predictions: of the first row alone, and of the others at once, as a server asks
    for one and for many."""
    from ai_edge_litert.interpreter import Interpreter

    names = _core_names(model)
    answers = []
    try:
        with quiet():
            runner = Interpreter(model_content=core).get_signature_runner()
            for part in (slice(0, 1), slice(1, None)):
                given = {names[name]: values[part] for name, values in rows.items()}
                if all(len(values) for values in given.values()):
                    answers.append(np.array(runner(**given)["predictions"]))
    except (RuntimeError, ValueError) as error:
        raise NodeFailed(
            f"LiteRT does not run the core of {model.name!r}: {error}",
            hint="Drop the candidate, or choose other numbers.",
        ) from error
    return np.concatenate(answers)
