"""One Transform run that all tests of its features share: it takes seconds."""

from __future__ import annotations

import pytest

from tests.transform.table import CONFIG, Transformed, run_transform, table


@pytest.fixture(scope="session")
def transformed(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """The table of 60 rows, transformed and read back in the order of its rows."""
    import tensorflow as tf
    import tensorflow_transform as tft

    rows = table(60)
    folder = run_transform(
        tmp_path_factory.mktemp("transform"), rows, {"transform": CONFIG.model_dump(mode="json")}
    )
    output = tft.TFTransformOutput(str(folder / "graph"))
    files = sorted(map(str, (folder / "transformed" / "Split-eval").glob("*.gz")))
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    features = tf.io.parse_example(records, output.transformed_feature_spec())
    return Transformed(output, rows, features)
