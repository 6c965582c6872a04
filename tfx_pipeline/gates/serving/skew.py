"""The skew proof: the same rows through the trainer's model, the SavedModel, and the server.

First, `materialized.check` shows that the transform graph still makes what Transform wrote for the
trainer. Then held-out rows go three ways:

1. through that graph as TFT runs it, and the model alone: `keras_model.h5`, or the TFLite core;
2. through the whole SavedModel in this process;
3. through the server.

A compressed candidate that the server runs without a core has no model apart from its SavedModel:
of the first way it has the features, which must be those of its own `transform_features`.

Probabilities are compared absolutely. A regression's values are float32, whose step at 200,000 is
0.016, and each way adds them up in its own order: a difference is measured against the value, or
the spread (standard deviation) of the float model's answers where that is more, for a value near 0
may be the sum of large ones. Neither counts below 1, so that probabilities need no rule of their
own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfx_pipeline.errors import NodeFailed
from tfx_pipeline.gates.serving import materialized
from tfx_pipeline.gates.serving.materialized import Difference, Features
from tfx_pipeline.gates.serving.measured import Skew
from tfx_pipeline.gates.serving.replay import OUTPUT, as_rows
from tfx_pipeline.gates.serving.rows import as_array, sample
from transform.config import LabelConfig, TransformConfig

TRAINER, SAVED_MODEL, SERVER = "the trainer's model", "the SavedModel", "the server"

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """What the trainer read and made.

    Attributes:
        keras_model: `keras_model.h5`: from transformed features to predictions.
        transform_graph: Folder of the TransformGraph.
        raw: Folder of the raw Examples, with `Split-train` and perhaps `Split-val`.
        transformed: The same of the transformed ones.
        config: Features and label.
    """

    keras_model: Path
    transform_graph: Path
    raw: Path
    transformed: Path
    config: TransformConfig


@dataclass(frozen=True)
class Reference:
    """The first way, which is the same for every candidate.

    Attributes:
        rows: Indices of the held-out rows that are compared.
        serialized: These rows.
        features: The model's inputs by name, in the model's order; and the label.
        predictions: Of the trainer's float model, [M] or [M, outputs].
        difference: Where the transform graph and what Transform wrote part; None: nowhere.
        split: The split where that was looked at.
        tolerance: Largest difference that is none.
    """

    rows: npt.NDArray[np.int64]
    serialized: list[bytes]
    features: Features
    predictions: Array
    difference: Difference | None
    split: str
    tolerance: float


def reference(
    trained: Trained, serialized: Sequence[bytes], *, rows: int, tolerance: float
) -> Reference:
    """Takes held-out rows the first way, and checks the way itself.

    Args:
        trained: What the trainer read and made.
        serialized: The held-out rows.
        rows: So many of them, evenly chosen, are compared, and as many of a written split.
        tolerance: Largest difference that is none.

    Raises:
        NodeFailed: The trainer's model does not load, or does not take the features; or there
            are no raw rows to look up among what Transform wrote.
    """
    import tensorflow_transform as tft

    from transform.layout import layout

    tft_output = tft.TFTransformOutput(str(trained.transform_graph))
    specs = layout(trained.config, tft_output)
    split, some = _written_rows(trained, rows)
    difference = materialized.check(
        trained.transformed / f"Split-{split}",
        tft_output,
        specs,
        materialized.through_graph(tft_output, specs, some),
        tolerance,
    )
    chosen = np.unique(np.linspace(0, len(serialized) - 1, min(rows, len(serialized))).astype(int))
    kept = [serialized[row] for row in chosen]
    features = materialized.through_graph(tft_output, specs, kept)
    predictions = _of_keras(trained.keras_model, features, trained.config.label)
    return Reference(chosen, kept, features, predictions, difference, split, tolerance)


def _written_rows(trained: Trained, rows: int) -> tuple[str, list[bytes]]:
    """Raw rows of the first split that Transform wrote and that has any."""
    splits = materialized.written_splits(trained.transformed)
    for split in splits:
        some, _ = sample(trained.raw / f"Split-{split}", rows)
        if some:
            return split, some
    raise NodeFailed(
        f"no raw rows of split {' or '.join(splits)} to prove what Transform wrote with",
        where=str(trained.raw),
        hint="Run again from ExampleGen: `assay run --from ExampleGen`.",
    )


def skew(
    folder: Path, served: Array, expected: Reference, *, is_float: bool, runs_core: bool
) -> Skew:
    """Compares the ways of one candidate.

    Args:
        folder: Its SavedModel.
        served: What the server answered to all held-out rows.
        expected: The first way.
        is_float: Whether it is the trainer's own model.
        runs_core: Whether the server ran its TFLite core.

    Raises:
        RequestError: The SavedModel does not load or run in this process.
    """
    features, answers = _in_process(folder, expected, runs_core=runs_core)
    ways = {SAVED_MODEL: answers[SAVED_MODEL], SERVER: served[expected.rows]}
    if is_float:
        ways = {TRAINER: expected.predictions, **ways}
    elif TRAINER in answers:
        ways = {TRAINER: answers[TRAINER], **ways}
    gap = _largest(ways, spread_of(expected.predictions))
    size, between = gap.size, gap.between
    other = materialized.first_difference(expected.features, features, expected.tolerance)
    row = None if gap.place is None else int(expected.rows[gap.place])
    if size <= expected.tolerance and other is None and expected.difference is None:
        return Skew(size, expected.tolerance, between, row)
    found = expected.difference or other
    sentences = []
    if size > expected.tolerance:
        of = f", {size:.3g} of {gap.scale:,.6g}" if gap.scale > 1 else ""
        sentences.append(
            f"row {row}: {between[0]} and {between[1]} differ by {gap.absolute:.3g}{of}"
        )
    if expected.difference is not None:
        sentences.append(
            f"{_values(expected.difference, 'as Transform wrote it', 'by the transform graph')} "
            f"(a row of split {expected.split})"
        )
    elif other is not None:
        row = int(expected.rows[other.row]) if size <= expected.tolerance else row
        sentences.append(_values(other, "in training", "at serving"))
    else:
        sentences.append("no transformed feature differs")
    if found is not None:
        # Features that differ are skew, be it that the predictions of these rows agree.
        size = max(size, found.size)
    name = found.feature if found is not None else ""
    return Skew(size, expected.tolerance, between, row, name, "; ".join(sentences))


def _values(difference: Difference, first: str, second: str) -> str:
    return (
        f"feature {difference.feature} is {difference.expected:.6g} {first} and "
        f"{difference.found:.6g} {second}"
    )


@dataclass(frozen=True)
class _Gap:
    """Where two ways differ most: which two, the place among the rows that are compared (None:
    nowhere), by how much, what that is measured against, and their quotient."""

    between: tuple[str, str] = ("", "")
    place: int | None = None
    absolute: float = 0.0
    scale: float = 1.0
    size: float = 0.0


def spread_of(predictions: Array) -> float:
    """Standard deviation of a model's answers, of those that are numbers; 0 without any."""
    known = predictions[np.isfinite(predictions)]
    return float(known.std()) if known.size else 0.0


def _largest(ways: dict[str, Array], spread: float) -> _Gap:
    """The largest difference between any two ways, |a - b| / max(1, |a|, spread)."""
    names = list(ways)
    largest = _Gap()
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            first, second = ways[one], ways[other]
            if first.shape != second.shape:
                return _Gap((one, other), 0, np.inf, 1.0, np.inf)
            if not first.size:
                continue
            scale = np.fmax(np.abs(first), max(1.0, spread))
            with np.errstate(invalid="ignore"):
                gaps = np.abs(first - second)
                sizes = gaps / scale
            sizes = np.where(np.isnan(sizes), np.inf, sizes)  # no number agrees with nothing
            place = np.unravel_index(sizes.argmax(), sizes.shape)
            if sizes[place] > largest.size:
                figures = (float(found[place]) for found in (gaps, scale, sizes))
                largest = _Gap((one, other), int(place[0]), *figures)
    return largest


def _in_process(
    folder: Path, expected: Reference, *, runs_core: bool
) -> tuple[Features, dict[str, Array]]:
    """The features that a SavedModel makes of the raw rows, and its predictions by their way."""
    from serving.server import paired, saved_model

    load: Any = paired.load if runs_core else saved_model.load
    model = load(folder)
    try:
        signature = model.signatures["serving_default"]
        examples = {alias: as_array(expected.serialized) for alias in signature.inputs}
        answers = {SAVED_MODEL: _predictions(model.run("serving_default", examples, [OUTPUT]))}
        # What the model itself is given, where the SavedModel tells.
        front = "core_inputs" if "core_inputs" in model.signatures else "transform_features"
        features = model.run(front, examples, list(model.signatures[front].outputs))
        if runs_core:
            answers[TRAINER] = _of_core(model, folder, expected.features)
        return features, answers
    finally:
        model.close()


def _of_core(model: Any, folder: Path, features: Features) -> Array:
    """The core alone, on features that did not come from the SavedModel's own front."""
    from serving.server import paired, tflite

    core = tflite.TfliteModel((folder / paired.CORE).read_bytes())
    try:
        # The core's inputs may be called otherwise than the model's.
        names = json.loads((folder / paired.DESCRIPTION).read_bytes())["inputs"]
        inputs = {core_name: features[name] for name, core_name in names.items()}
        predictions = core.run(next(iter(core.signatures)), inputs, [OUTPUT])
    finally:
        core.close()
    return _predictions(model.run("core_answer", predictions, [OUTPUT]))


def _of_keras(path: Path, features: Features, label: LabelConfig) -> Array:
    """The model alone, and what is answered of its predictions: quantiles are sorted."""
    import tensorflow as tf
    import tf_keras

    from trainer.export import answer

    try:
        model = tf_keras.models.load_model(str(path), compile=False)
        inputs = {name: features[name] for name in model.input_names}
        predicted = tf.constant(model.predict(inputs, batch_size=512, verbose=0))
        return _predictions({OUTPUT: answer(predicted, label)[OUTPUT].numpy()})
    except Exception as error:
        raise NodeFailed(
            "the trainer's model cannot be asked: "
            f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}",
            where=str(path),
            hint="Register your own layers with tf_keras.saving.register_keras_serializable.",
        ) from error


def _predictions(outputs: dict[str, npt.NDArray[Any]]) -> Array:
    return as_rows(np.asarray(outputs[OUTPUT], np.float64))
