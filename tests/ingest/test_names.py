"""Column names that hold spaces, quotes or other scripts get through TensorFlow Transform."""

from __future__ import annotations

from pathlib import Path

import pytest

NUMBERS = ["a b", 'say "x"', "naïve # x", "{x}", "-y", "a.b"]
TEXTS = ["cat: é", "a/b", "tab\there"]


@pytest.mark.slow
def test_odd_names_through_transform(tmp_path: Path) -> None:
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from transform.config import TransformConfig, feature_name
    from transform.preprocessing import preprocessing_fn

    columns = {name: {"kind": "numeric"} for name in NUMBERS}
    columns |= {name: {"kind": "categorical"} for name in TEXTS}
    config = TransformConfig.model_validate(
        {
            "features": {"columns": columns},
            "label": {"column": "lab el", "classes": ["no", "yes"]},
        }
    )
    spec = {
        **{name: tf.io.FixedLenFeature([1], tf.float32) for name in NUMBERS},
        **{name: tf.io.FixedLenFeature([1], tf.string) for name in [*TEXTS, "lab el"]},
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [
        {
            **{name: [float(i)] for name in NUMBERS},
            **{name: [b"pq"[i : i + 1]] for name in TEXTS},
            "lab el": [[b"no", b"yes"][i]],
        }
        for i in range(2)
    ]
    custom = {"transform": config.model_dump(mode="json")}
    with (
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=str(tmp_path / "tmp")),
    ):
        transform_fn = (pipeline | beam.Create(rows), metadata) | tft_beam.AnalyzeDataset(
            lambda inputs: preprocessing_fn(inputs, custom)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(tmp_path / "out"))
    layer = tft.TFTransformOutput(str(tmp_path / "out")).transform_features_layer()
    features = layer({name: tf.constant([row[name] for row in rows]) for name in spec})
    assert {feature_name(name) for name in [*NUMBERS, *TEXTS]} < set(features)
    assert features[feature_name("a b")].numpy().ravel().tolist() == [-1.0, 1.0]
