"""What the transformed features are: their kinds and sizes, for whoever builds inputs from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tfx_pipeline.errors import ConfigError
from transform.config import (
    LABEL,
    CategoricalFeature,
    DateFeature,
    Feature,
    ImageFeature,
    NumericFeature,
    SeriesFeature,
    TextFeature,
    TransformConfig,
    feature_name,
)

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft


Kind = Literal["dense", "ids", "image", "bag", "sequence", "series"]


@dataclass(frozen=True)
class FeatureSpec:
    """One transformed feature.

    Attributes:
        name: Its name in the transformed examples; of a bag, the name of its ids.
        kind: `dense`: float32 `[N, *shape]`. `ids`: int64 `[N, *shape]`, each in 0..size-1.
            `image`: float32 `[N, *shape]` in [0, 1]. `bag`: ids int64 and weights float32,
            aligned, of varying length (sparse as parsed, `[N, L]` after `model_inputs`).
            `sequence`: int64 `[N, length]`, tokens in their order: 0 is padding, 1 a token that
            the vocabulary does not have, the others are its own. `series`: float32
            `[N, length, channels]`, mean 0 and variance 1.
        size: Width of a dense feature, an image or a series in floats; number of ids of `ids`,
            `bag` and `sequence`.
        shape: Shape without the batch; `(None,)` for a bag.
        weights: Name of a bag's weights.
    """

    name: str
    kind: Kind
    size: int
    shape: tuple[int | None, ...]
    weights: str | None = None

    @property
    def dtype(self) -> Literal["float32", "int64"]:
        """Of the tensor of this name."""
        return "int64" if self.kind in ("ids", "bag", "sequence") else "float32"


def layout(config: TransformConfig, tft_output: tft.TFTransformOutput) -> list[FeatureSpec]:
    """The transformed features, label excluded, in the config's order.

    For a user's own preprocessing function they are read from the transformed schema: floats are
    dense (images when of rank 3), integers with a known range are ids, a pair `<x>_ids_xf` and
    `<x>_weights_xf` of varying length is a bag; `<x>_sequence_xf`, integers of rank 1, is a
    sequence, and `<x>_series_xf`, floats of rank 2, a series.

    Raises:
        ConfigError: A user's function made a feature that none of the kinds describes, or no
            label.
    """
    if config.features.by_user:
        return _from_schema(config.features.preprocessing_fn, tft_output)
    specs: list[FeatureSpec] = []
    for name, feature in config.features.columns.items():
        specs += _of_column(name, feature, tft_output)
    for cross in config.features.crosses:
        name = feature_name(cross.name)
        specs.append(FeatureSpec(name, "ids", cross.hash_buckets, (1,)))
    return specs


def check_traced(path: str, outputs: Mapping[str, object]) -> None:
    """Refuses what `layout` would refuse of a user's function, while TFT traces it: before the
    data are analyzed, not after. Eager tensors have no ranges to check and are let through.

    Args:
        path: The function.
        outputs: What it returned.

    Raises:
        ConfigError: As `layout`.
    """
    if LABEL not in outputs:
        raise _no_label(path)
    for name, values in outputs.items():
        if name != LABEL and (problem := _problem(name, values, outputs)):
            raise ConfigError(f"{path} returns {name!r} {problem}", hint=_FEATURE_HINT)


def model_inputs(
    features: Mapping[str, tf.Tensor | tf.SparseTensor], specs: Iterable[FeatureSpec]
) -> dict[str, tf.Tensor]:
    """The features of `specs` as dense tensors, in training and in serving alike.

    A bag's ids and weights are padded to the batch's longest row, at least 1, with id 0 and
    weight 0: a sum or a mean weighted with them does not see the padding.

    Args:
        features: Parsed transformed examples, or what `transform_features_layer()` returned.
        specs: From `layout`.

    Returns:
        Tensors by name, one a spec and two a bag.
    """
    inputs = {}
    for spec in specs:
        inputs[spec.name] = features[spec.name]
        if spec.weights is not None:
            inputs[spec.name] = _pad(features[spec.name])
            inputs[spec.weights] = _pad(features[spec.weights])
    return inputs


def _pad(values: tf.SparseTensor) -> tf.Tensor:
    import tensorflow as tf

    rows, longest = values.dense_shape[0], tf.maximum(values.dense_shape[1], 1)
    shape = tf.stack([rows, longest])
    return tf.sparse.to_dense(tf.SparseTensor(values.indices, values.values, shape))


def _of_column(
    column: str, feature: Feature, tft_output: tft.TFTransformOutput
) -> list[FeatureSpec]:
    from transform import categorical, date

    name = feature_name(column)
    match feature:
        case NumericFeature():
            width = feature.buckets or 1
            specs = [FeatureSpec(name, "dense", width, (width,))]
            if feature.missing_indicator:
                specs.append(FeatureSpec(feature_name(column, "missing"), "dense", 1, (1,)))
            return specs
        case CategoricalFeature(encoding="vocabulary"):
            known = _vocabulary_size(tft_output, categorical.vocabulary_name(column))
            return [FeatureSpec(name, "ids", 1 + known + feature.oov_buckets, (1,))]
        case CategoricalFeature(encoding="hash"):
            return [FeatureSpec(name, "ids", 1 + feature.hash_buckets, (1,))]
        case CategoricalFeature():
            return [FeatureSpec(name, "ids", 2 + feature.max_values, (1,))]
        case DateFeature():
            width = date.width(feature)
            return [FeatureSpec(name, "dense", width, (width,))]
        case TextFeature(output="sequence"):
            known = _vocabulary_size(tft_output, categorical.vocabulary_name(column))
            name = feature_name(column, "sequence")
            return [FeatureSpec(name, "sequence", 2 + known, (feature.max_length,))]
        case TextFeature():
            known = _vocabulary_size(tft_output, categorical.vocabulary_name(column))
            ids, weights = feature_name(column, "ids"), feature_name(column, "weights")
            return [FeatureSpec(ids, "bag", known, (None,), weights)]
        case SeriesFeature():
            size, steps = feature.length * feature.channels, (feature.length, feature.channels)
            return [FeatureSpec(feature_name(column, "series"), "series", size, steps)]
        case ImageFeature():
            shape = (feature.height_px, feature.width_px, feature.channels)
            return [FeatureSpec(name, "image", shape[0] * shape[1] * shape[2], shape)]


def _vocabulary_size(tft_output: tft.TFTransformOutput, name: str) -> int:
    # An empty vocabulary is written as one token that cannot occur, and looks up as size 1.
    return max(1, int(tft_output.vocabulary_size_by_name(name)))


def _problem(name: str, values: object, outputs: Mapping[str, object]) -> str:
    """Why no input of the model can take a traced feature, or "" if one can."""
    import tensorflow as tf

    if isinstance(values, tf.SparseTensor):
        stem = name.removesuffix("_ids_xf").removesuffix("_weights_xf")
        if not {f"{stem}_ids_xf", f"{stem}_weights_xf"} <= set(outputs):
            return f"as sparse {values.dtype.name} without a pair {stem}_ids_xf, {stem}_weights_xf"
        values = values.values
    if not isinstance(values, tf.Tensor):
        return f"as {type(values).__name__}"
    if values.dtype == tf.float32 or not hasattr(values, "graph"):
        return ""
    return _problem_of_ids(values) if values.dtype == tf.int64 else f"as {values.dtype.name}"


def _problem_of_ids(values: tf.Tensor) -> str:
    import tensorflow as tf
    from tensorflow_transform import schema_inference

    try:
        low, _ = schema_inference.get_tensor_schema_override(values)
    except ValueError:
        return "as integers of no known range"
    # TFT states the lowest id of a vocabulary without OOV buckets as minimum(0, default_value).
    bounds = low.op.inputs if low.op.type == "Minimum" else [low]
    known = [value for value in map(tf.get_static_value, bounds) if value is not None]
    return "with ids below 0" if any(value < 0 for value in known) else ""


def _no_label(path: str) -> ConfigError:
    return ConfigError(f"{path} returns no {LABEL!r}", hint=f"Add {LABEL!r} to its result.")


_FEATURE_HINT = (
    "Return float32, or int64 ids from 0 on with a known range, as "
    "tft.compute_and_apply_vocabulary(x, num_oov_buckets=1) makes them (without num_oov_buckets "
    "an unknown value is -1)."
)


def _from_schema(path: str, tft_output: tft.TFTransformOutput) -> list[FeatureSpec]:
    """The layout of what a user's own preprocessing function returned."""
    parsed = tft_output.transformed_feature_spec()
    if LABEL not in parsed:
        raise _no_label(path)
    sizes = {
        feature.name: feature.int_domain.max + 1
        for feature in tft_output.transformed_metadata.schema.feature
        if feature.HasField("int_domain") and feature.int_domain.min >= 0
    }
    weights = {name: f"{name.removesuffix('_ids_xf')}_weights_xf" for name in parsed}
    weights = {name: other for name, other in weights.items() if other in parsed}
    return [
        _of_parsed(path, name, spec, sizes.get(name), weights.get(name))
        for name, spec in sorted(parsed.items())
        if name != LABEL and name not in weights.values()
    ]


def _of_parsed(
    path: str, name: str, spec: object, size: int | None, weights: str | None
) -> FeatureSpec:
    import tensorflow as tf

    if isinstance(spec, tf.io.VarLenFeature) and weights and size:
        return FeatureSpec(name, "bag", size, (None,), weights)
    if isinstance(spec, tf.io.FixedLenFeature):
        shape = tuple(spec.shape)
        if spec.dtype == tf.float32:
            kind: Kind = "image" if len(shape) == 3 else "dense"
            if len(shape) == 2 and name.endswith("_series_xf"):
                kind = "series"
            return FeatureSpec(name, kind, math.prod(shape), shape)
        if spec.dtype == tf.int64 and size:
            in_order = len(shape) == 1 and name.endswith("_sequence_xf")
            return FeatureSpec(name, "sequence" if in_order else "ids", size, shape)
    raise ConfigError(
        f"{path} returns {name!r} as {spec}, which no input of the model can take",
        hint=_FEATURE_HINT,
    )
