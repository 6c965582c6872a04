"""What the Beam nodes of a run left, in a form that can be compared with another run's."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from tests.e2e.project import Project, uri


def statistics(project: Project) -> dict[str, Any]:
    """Split to its statistics. The order of columns in TFDV's list follows the merge: sorted."""
    folder = uri(project.latest, "StatisticsGen", "statistics")
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("Split-*/FeatureStats.pb")):
        parsed = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        for dataset in parsed.datasets:
            columns = sorted(dataset.features, key=lambda f: list(f.path.step))
            del dataset.features[:]
            dataset.features.extend(columns)
        found[path.parent.name] = parsed
    return found


def vocabularies(project: Project) -> dict[str, list[str]]:
    """File of each vocabulary, and its lines in their order, which is the ids'."""
    graph = uri(project.latest, "Transform", "transform_graph")
    assets = graph / "transform_fn" / "assets"
    return {path.name: path.read_text().splitlines() for path in sorted(assets.iterdir())}


def transformed(project: Project) -> dict[str, np.ndarray]:
    """Every transformed feature of the train split, its rows sorted: moments and buckets, applied.

    Which shard a row is written to is the runner's business.
    """
    import tensorflow as tf

    folder = uri(project.latest, "Transform", "transformed_examples") / "Split-train"
    files = sorted(str(path) for path in folder.glob("*.gz"))
    rows = []
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        rows.append(
            {
                name: list(value.float_list.value) + list(value.int64_list.value)
                for name, value in features.items()
            }
        )
    rows.sort(key=lambda row: json.dumps(row, sort_keys=True))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def metrics(project: Project) -> dict[str, dict[str, float]]:
    """Slice to metrics, as the quality gate read them."""
    verdict = uri(project.latest, "Evaluator", "blessing") / "verdict.json"
    found = json.loads(verdict.read_text())["metrics"]
    return {
        # What is no number, for instance a recall without positives, is no number on each runner.
        name: {key: math.nan if value is None else value for key, value in of_slice.items()}
        for name, of_slice in found.items()
    }


def assert_same(project: Project, reference: Project) -> None:
    """Two runs of one config on the same rows gave the same, whichever runner had them."""
    for node in ("ExampleGen", "StatisticsGen", "Transform", "Evaluator"):
        assert project.latest.nodes[node].state == "complete"
    assert statistics(project) == statistics(reference)
    assert vocabularies(project) == vocabularies(reference)
    ours, theirs = transformed(project), transformed(reference)
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, atol=1e-6, err_msg=name)
    measured, expected = metrics(project), metrics(reference)
    assert measured.keys() == expected.keys()
    for slice_name, of_slice in expected.items():
        assert measured[slice_name].keys() == of_slice.keys()
        for name, value in of_slice.items():
            np.testing.assert_allclose(
                measured[slice_name][name], value, atol=1e-6, err_msg=f"{slice_name} {name}"
            )
