"""The layout of what a user's own preprocessing function returned, read from its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

from tests.transform.table import CONFIG, Transformed
from tfx_pipeline.errors import ConfigError
from transform.config import TransformConfig
from transform.layout import FeatureSpec, layout

DENSE = tf.io.FixedLenFeature([3], tf.float32)
IDS = tf.io.FixedLenFeature([1], tf.int64)
LABEL = {"label_xf": IDS}
RANGE = schema_pb2.IntDomain(min=0, max=9)
OWN = TransformConfig.model_validate(
    CONFIG.model_dump() | {"features": CONFIG.features.model_dump() | {"preprocessing_fn": "m.f"}}
)


def output(
    folder: Path, spec: dict[str, Any], domains: dict[str, schema_pb2.IntDomain]
) -> tft.TFTransformOutput:
    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec, domains)
    metadata_io.write_metadata(
        metadata, str(folder / tft.TFTransformOutput.TRANSFORMED_METADATA_DIR)
    )
    return tft.TFTransformOutput(str(folder))


def test_each_kind_is_recognized(tmp_path: Path) -> None:
    spec = LABEL | {
        "d": DENSE,
        "i": IDS,
        "pixels": tf.io.FixedLenFeature([4, 6, 3], tf.float32),
        "t_sequence_xf": tf.io.FixedLenFeature([5], tf.int64),
        "w_series_xf": tf.io.FixedLenFeature([4, 2], tf.float32),
        "t_ids_xf": tf.io.VarLenFeature(tf.int64),
        "t_weights_xf": tf.io.VarLenFeature(tf.float32),
    }
    specs = layout(
        OWN, output(tmp_path, spec, dict.fromkeys(("i", "t_ids_xf", "t_sequence_xf"), RANGE))
    )
    assert specs == [
        FeatureSpec("d", "dense", 3, (3,)),
        FeatureSpec("i", "ids", 10, (1,)),
        FeatureSpec("pixels", "image", 72, (4, 6, 3)),
        FeatureSpec("t_ids_xf", "bag", 10, (None,), "t_weights_xf"),
        FeatureSpec("t_sequence_xf", "sequence", 10, (5,)),
        FeatureSpec("w_series_xf", "series", 8, (4, 2)),
    ]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"d": DENSE}, "no 'label_xf'"),
        (LABEL | {"i": IDS}, "returns 'i'"),
        (LABEL | {"s": tf.io.FixedLenFeature([1], tf.string)}, "returns 's'"),
        (LABEL | {"v": tf.io.VarLenFeature(tf.float32)}, "returns 'v'"),
    ],
)
def test_what_no_input_can_take_is_refused(tmp_path: Path, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        layout(OWN, output(tmp_path, spec, {}))


def test_a_function_that_builds_on_ours_has_our_features(transformed: Transformed) -> None:
    """Ids state their range in the transformed schema, so nothing else is needed to read them."""
    ours, theirs = layout(CONFIG, transformed.output), layout(OWN, transformed.output)
    assert sorted(theirs, key=lambda spec: spec.name) == sorted(ours, key=lambda spec: spec.name)
