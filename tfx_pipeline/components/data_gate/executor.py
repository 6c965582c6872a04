"""Executor of DataGate: reads anomalies, schema and statistics, writes the verdict."""

from __future__ import annotations

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from tfx_pipeline.gates.anomalies import SplitAnomalies, judge_anomalies
from tfx_pipeline.gates.verdict import Verdict, write_verdict

BLESSED_PROPERTY = "blessed"

# As TFX's components name them. They are read here, and not through TFDV, so that a process of this
# node's own needs neither it nor TensorFlow (`DataGate.needs_tensorflow`).
_ANOMALIES_FILE = "SchemaDiff.pb"
_STATISTICS_FILE = "FeatureStats.pb"
_NO_BASELINE = 2  # What DistributionValidator's `blessed` says when it had nothing to compare with.


class Executor(base_executor.BaseExecutor):  # type: ignore[misc]
    """Judges one run's data."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes verdict.json and sets `blessed` on the output artifact.

        Args:
            input_dict: `anomalies`, `statistics`, `schema`, and maybe `drift_anomalies` and
                `skew_anomalies`.
            output_dict: `verdict`.
            exec_properties: `fail_on`.

        Raises:
            StorageError: The verdict cannot be written.
        """
        fail_on = exec_properties["fail_on"]
        verdict_artifact = artifact_utils.get_single_instance(output_dict["verdict"])
        subject = artifact_utils.get_single_uri(input_dict["anomalies"])
        try:
            found = _against_schema(input_dict)
            for source in ("drift", "skew"):
                for artifact in input_dict.get(f"{source}_anomalies") or []:
                    found += _against_distribution(source, artifact)
            verdict = judge_anomalies(found, fail_on, subject=subject)
        except Exception as error:  # noqa: BLE001 (whatever is wrong, the gate stays shut)
            verdict = Verdict(
                gate="data",
                blessed=False,
                reason=f"the anomalies cannot be read: {type(error).__name__}: {error}",
                subject=subject,
            )
        write_verdict(verdict, verdict_artifact.uri)
        verdict_artifact.blessed = int(verdict.blessed)


def _against_schema(input_dict: dict[str, list[types.Artifact]]) -> list[SplitAnomalies]:
    artifact = artifact_utils.get_single_instance(input_dict["anomalies"])
    statistics = artifact_utils.get_single_instance(input_dict["statistics"])
    schema: schema_pb2.Schema = io_utils.SchemaReader().read(
        io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict["schema"]))
    )
    return [
        SplitAnomalies(
            source="schema",
            split=split,
            anomalies=_read(os.path.join(artifact.uri, f"Split-{split}")),
            schema=schema,
            statistics=_statistics(artifact_utils.get_split_uri([statistics], split)),
        )
        for split in artifact_utils.decode_split_names(artifact.split_names)
    ]


def _against_distribution(source: str, artifact: types.Artifact) -> list[SplitAnomalies]:
    """Findings of a DistributionValidator; a first run has nothing to compare with."""
    pairs = artifact_utils.decode_split_names(artifact.split_names or "[]")
    if not pairs:
        verdicts = artifact.get_json_value_custom_property("blessed") or {}
        if verdicts and all(value == _NO_BASELINE for value in verdicts.values()):
            return []
        raise ValueError(f"DistributionValidator compared no splits ({source})")
    return [
        SplitAnomalies(
            source=source,
            split=f"{source} {pair.replace('_', ' to ', 1)}",
            anomalies=_read(os.path.join(artifact.uri, f"SplitPair-{pair}")),
        )
        for pair in pairs
    ]


def _read(folder: str) -> anomalies_pb2.Anomalies:
    found = anomalies_pb2.Anomalies()
    found.ParseFromString(_content(os.path.join(folder, _ANOMALIES_FILE)))
    return found


def _statistics(folder: str) -> statistics_pb2.DatasetFeatureStatistics:
    found = statistics_pb2.DatasetFeatureStatisticsList()
    found.ParseFromString(_content(os.path.join(folder, _STATISTICS_FILE)))
    return found.datasets[0]


def _content(path: str) -> bytes:
    if not fileio.exists(path):  # What is not there must not be taken for no anomalies.
        raise FileNotFoundError(path)
    with fileio.open(path, "rb") as file:
        content: bytes = file.read()
    return content
