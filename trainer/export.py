"""A trained model and its transform graph as one SavedModel that takes raw tf.Examples."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from trainer.storage import write_errors
from transform.config import LABEL, LabelConfig, TransformConfig
from transform.layout import FeatureSpec, model_inputs
from transform.raw import missing_mark

if TYPE_CHECKING:
    import tensorflow_transform as tft
    import tf_keras

SIGNATURE_FILE = os.path.join("assets.extra", "assay_signature.json")
CORE_SIGNATURES = ("core_inputs", "core_answer")
_KINDS = {tf.float32: "float", tf.int64: "int", tf.string: "bytes"}
_EXAMPLES = [tf.TensorSpec([None], tf.string, name="examples")]

Trackable = tf.__internal__.tracking.Trackable
ParseSpec = dict[str, Any]


def export(
    model: tf_keras.Model,
    tft_output: tft.TFTransformOutput,
    layout: Sequence[FeatureSpec],
    config: TransformConfig,
    folder: str,
    *,
    core_signatures: bool = False,
    extra: Mapping[str, bytes] | None = None,
) -> None:
    """Writes the SavedModel, under another name first, and renames it when it is whole.

    `serving_default(examples)` gives `predictions`, float32 [N, 1] (probability of the positive
    class, or the value of a regression), [N, C] (multiclass, multilabel) or [N, Q] (quantiles, the
    lowest first), and `class`, string [N], where the label has classes; with `label.top_k` also
    `top_ids`, string [N, k], and `top_scores`, float32 [N, k], the most probable first.
    `transform_features(examples)` gives the transformed
    features and `label_xf`; TFMA reads the label from it. `assets.extra/assay_signature.json`
    describes the columns of a request.

    With `core_signatures` what stands before and behind the model can be run without it:
    `core_inputs(examples)` gives the model's inputs by name, `core_answer(predictions)` makes
    of its predictions what `serving_default` gives.

    Args:
        model: From model inputs to predictions.
        tft_output: The transform graph.
        layout: The model's features.
        config: Features and label.
        folder: Final folder; one that exists is replaced.
        core_signatures: Whether to add these two.
        extra: More files for `assets.extra`, by name.

    Raises:
        StorageError: The folder cannot be written.
    """
    folder = folder.rstrip("/")
    unfinished = f"{folder}.unfinished"
    raw_spec = tft_output.raw_feature_spec()
    request = request_spec(raw_spec, config)
    module = tf.Module()
    with write_errors(folder):
        _remove(unfinished)
        signatures = _signatures(module, model, tft_output, layout, config, request)
        if not core_signatures:
            signatures = {name: f for name, f in signatures.items() if name not in CORE_SIGNATURES}
        tf.saved_model.save(module, unfinished, signatures=signatures)
        description = json.dumps(describe(request, config), indent=2).encode()
        _write_extra(unfinished, {os.path.basename(SIGNATURE_FILE): description, **(extra or {})})
        _remove(folder)
        tf.io.gfile.rename(unfinished, folder)


def save_keras(model: tf_keras.Model, path: str) -> None:
    """Saves the Keras model alone, from model inputs to predictions, as HDF5.

    HDF5, because a model quantized by TF-MOT cannot be read back from `.keras`.

    Raises:
        StorageError: The file cannot be written.
    """
    unfinished = f"{path}.unfinished.h5"
    with write_errors(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*HDF5 file")
        model.save(unfinished, save_format="h5", include_optimizer=False)
        tf.io.gfile.rename(unfinished, path, overwrite=True)


def request_spec(raw_spec: Mapping[str, Any], config: TransformConfig) -> ParseSpec:
    """How a request's tf.Examples are parsed: the raw columns that features are made of.

    A column that every training row had is required of a request, as the schema says. With the
    user's own preprocessing function every raw column but the label's is taken to be one.
    """
    label = config.label
    columns = set(config.features.columns)
    if config.features.by_user:
        columns |= set(raw_spec) - {label.column, label.of}
    return {name: spec for name, spec in raw_spec.items() if name in columns}


def labelled_spec(raw_spec: Mapping[str, Any], config: TransformConfig) -> ParseSpec:
    """As `request_spec`, with the columns that the label is made of. Those may be absent."""
    request = request_spec(raw_spec, config)
    label_columns = [name for name in (config.label.column, config.label.of) if name is not None]
    optional = {
        name: _optional(raw_spec[name])
        for name in label_columns
        if name in raw_spec and name not in request
    }
    return request | optional


def describe(request: Mapping[str, Any], config: TransformConfig) -> dict[str, Any]:
    """The content of `assay_signature.json`: what to send, and what comes back."""
    label = config.label
    of_task: dict[str, Any] = {}
    if label.task == "multilabel":
        of_task = {"separator": label.separator}
    elif label.task == "quantile":
        of_task = {"quantiles": list(label.quantiles)}
    return {
        "columns": {name: _KINDS[spec.dtype] for name, spec in sorted(request.items())},
        "label": label.column,
        "task": label.task,
        "classes": list(label.classes),
        **of_task,
        "outputs": _outputs(label),
        "missing_values": list(config.missing_values),
    }


def _outputs(label: LabelConfig) -> list[str]:
    top = ["top_ids", "top_scores"] if label.top_k else []
    return ["predictions", *(["class"] if label.classes else []), *top]


def answer(predictions: tf.Tensor, label: LabelConfig) -> dict[str, tf.Tensor]:
    """The model's predictions [N, outputs] as the signature's outputs.

    A class of a binary or multilabel label is chosen above 0.5; those of a multilabel are joined as
    the label's column has them, in the order of `classes`. Quantiles are sorted: estimated each by
    itself they may cross, and sorted their loss is no worse (Chernozhukov, Fernandez-Val and
    Galichon, "Quantile and Probability Curves Without Crossing", Econometrica 78, 2010).
    """
    if label.task == "quantile":
        return {"predictions": tf.sort(predictions, axis=1)}
    if not label.classes:
        return {"predictions": predictions}
    names = tf.constant(label.classes)
    match label.task:
        case "binary":
            chosen = tf.gather(names, tf.cast(predictions[:, 0] > 0.5, tf.int64))
        case "multilabel":
            places = tf.where(predictions > 0.5)
            chosen = tf.strings.unsorted_segment_join(
                tf.gather(names, places[:, 1]),
                places[:, 0],
                num_segments=tf.shape(predictions, tf.int64)[0],
                separator=label.separator,
            )
        case _:
            chosen = tf.gather(names, tf.argmax(predictions, axis=1))
    answered = {"predictions": predictions, "class": chosen}
    if label.top_k:
        top = tf.math.top_k(predictions, label.top_k)
        answered |= {"top_ids": tf.gather(names, top.indices), "top_scores": top.values}
    return answered


def _signatures(
    module: tf.Module,
    model: tf_keras.Model,
    tft_output: tft.TFTransformOutput,
    layout: Sequence[FeatureSpec],
    config: TransformConfig,
    request: ParseSpec,
) -> dict[str, Callable[[tf.Tensor], dict[str, tf.Tensor]]]:
    """The functions behind the signatures. `module` gets what must be saved with them.

    The variables are attached, and not the Keras model: saving one traces every layer's call
    again, for a reload that `keras_model.h5` serves better. For the same reason the transform
    graph is loaded by what TFT's `transform_features_layer` (a Keras model) loads it with.
    """
    from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

    transform = SavedModelLoader(tft_output.transform_savedmodel_dir)
    module.model_variables = model.variables
    module.transform_graph = [v for v in vars(transform).values() if isinstance(v, Trackable)]
    labelled = labelled_spec(tft_output.raw_feature_spec(), config)
    predictions = tf.TensorSpec(model.output_shape, tf.float32, "predictions")

    @tf.function(input_signature=_EXAMPLES, autograph=False)
    def core_inputs(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = tf.io.parse_example(examples, request)
        inputs = model_inputs(transform.apply_transform_model(raw), layout)
        return {name: inputs[name] for name in model.input_names}

    @tf.function(input_signature=[predictions], autograph=False)
    def core_answer(predictions: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(predictions, config.label)

    @tf.function(input_signature=_EXAMPLES, autograph=False)
    def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(model(core_inputs(examples), training=False), config.label)

    @tf.function(input_signature=_EXAMPLES, autograph=False)
    def transform_features(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = tf.io.parse_example(examples, labelled)
        transformed = transform.apply_transform_model(raw)
        return model_inputs(transformed, layout) | {LABEL: transformed[LABEL]}

    return {
        "serving_default": serving_default,
        "transform_features": transform_features,
        "core_inputs": core_inputs,
        "core_answer": core_answer,
    }


def _write_extra(folder: str, files: Mapping[str, bytes]) -> None:
    tf.io.gfile.makedirs(os.path.join(folder, os.path.dirname(SIGNATURE_FILE)))
    for name, content in files.items():
        path = os.path.join(folder, os.path.dirname(SIGNATURE_FILE), name)
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(content)


def _optional(spec: Any) -> Any:
    """A dense column's parse spec with the mark for "missing" as its default."""
    if not isinstance(spec, tf.io.FixedLenFeature):
        return spec
    values = tf.TensorShape(spec.shape).num_elements()
    return spec._replace(default_value=[missing_mark(spec.dtype)] * values)


def _remove(folder: str) -> None:
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)
