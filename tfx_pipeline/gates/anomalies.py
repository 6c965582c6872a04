"""The data gate: TFDV's anomalies against the severity that stops a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tfx_pipeline.gates.verdict import Check, Verdict

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

FailOn = Literal["error", "warning", "never"]

_DATASET = "all columns"


@dataclass(frozen=True)
class SplitAnomalies:
    """TFDV's findings on one split.

    Attributes:
        source: `schema`, `drift` or `skew`: what the data were compared with.
        split: The split, or for drift and skew the two of them.
        anomalies: The findings.
        schema: What was expected of the columns; None for drift and skew.
        statistics: What was found in the columns; None where they are not at hand.
    """

    source: str
    split: str
    anomalies: anomalies_pb2.Anomalies
    schema: schema_pb2.Schema | None = None
    statistics: statistics_pb2.DatasetFeatureStatistics | None = None


def judge_anomalies(found: list[SplitAnomalies], fail_on: FailOn, *, subject: str = "") -> Verdict:
    """Decides whether the data may be trained on.

    Args:
        found: The findings on every split; none at all is a refusal.
        fail_on: The severity from which an anomaly stops the run.
        subject: URI of the anomalies.

    Returns:
        A verdict with one check for each anomaly and each measured distance.
    """
    checks = [check for split in found for check in _checks(split, fail_on)]
    failed = [check for check in checks if not check.passed]
    columns = sorted({check.what for check in failed})
    if not found:
        reason = "no split was validated, so nothing shows that the data are sound"
    elif failed:
        reason = f"{len(failed)} anomalies stop the run, in {', '.join(columns)}"
    elif any(check.severity for check in checks):
        reason = f"no anomaly of severity `{fail_on}` or above"
        if fail_on == "never":
            reason = "anomalies are reported only, as `fail_on: never` asks"
    else:
        splits = ", ".join(sorted({split.split for split in found}))
        reason = f"no anomalies in {splits}"
    return Verdict(
        gate="data",
        blessed=bool(found) and not failed,
        checks=checks,
        reason=reason,
        subject=subject,
    )


def _checks(split: SplitAnomalies, fail_on: FailOn) -> Iterator[Check]:
    measured = {
        ".".join(info.path.step): measurement
        for info in split.anomalies.drift_skew_info
        for measurement in (*info.drift_measurements, *info.skew_measurements)
    }
    for name, info in sorted(split.anomalies.anomaly_info.items()):
        column = ".".join(info.path.step) or name
        yield _anomaly(split, fail_on, column, info, measured.pop(column, None))
    if split.anomalies.HasField("dataset_anomaly_info"):
        yield _anomaly(split, fail_on, _DATASET, split.anomalies.dataset_anomaly_info, None)
    if split.anomalies.data_missing:
        yield Check(
            _DATASET, split.split, "rows", "none", None, None, fail_on == "never",
            "there are no rows in this split", "error",
        )  # fmt: skip
    for column, distance in sorted(measured.items()):
        yield Check(
            what=column,
            slice=split.split,
            threshold=f"{split.source} <= {distance.threshold:g}",
            measured=distance.value,
            margin=distance.threshold - distance.value,
            baseline=None,
            passed=True,
        )


def _anomaly(
    split: SplitAnomalies,
    fail_on: FailOn,
    column: str,
    info: anomalies_pb2.AnomalyInfo,
    distance: anomalies_pb2.DriftSkewInfo.Measurement | None,
) -> Check:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    # A severity that TFDV leaves open counts as an error: the gate fails closed.
    warning = info.severity == anomalies_pb2.AnomalyInfo.WARNING
    stops = fail_on == "warning" or (fail_on == "error" and not warning)
    expected, measured = _expected(column, split.schema), _found(column, split.statistics)
    margin: float | None = None
    if distance is not None:
        expected = f"{split.source} <= {distance.threshold:g}"
        margin = distance.threshold - distance.value
    return Check(
        what=column,
        slice=split.split,
        threshold=expected,
        measured=distance.value if distance is not None else measured,
        margin=margin,
        baseline=None,
        passed=not stops,
        reason=_description(info),
        severity="warning" if warning else "error",
    )


def _description(info: anomalies_pb2.AnomalyInfo) -> str:
    pairs = [(reason.short_description, reason.description) for reason in info.reason]
    pairs = pairs or [(info.short_description, info.description)]
    return "; ".join(
        f"{short}: {long}" if short and long and short != long else short or long
        for short, long in pairs
    ).rstrip()


def _expected(column: str, schema: schema_pb2.Schema | None) -> str:
    """What the schema says of a column, in a few words."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    if schema is None or column == _DATASET:
        return ""
    feature = next((f for f in schema.feature if f.name == column), None)
    if feature is None:
        return "no such column"
    parts = [f"type {schema_pb2.FeatureType.Name(feature.type)}"]
    if feature.HasField("presence") and feature.presence.min_fraction:
        parts.append(f"present in >= {100 * feature.presence.min_fraction:.4g} % of rows")
    if feature.HasField("shape") and not feature.shape.dim:
        parts.append("1 value a row")
    elif feature.HasField("shape"):
        size = math.prod(dim.size for dim in feature.shape.dim)
        parts.append(f"{_values(size, size)} a row")
    elif feature.HasField("value_count"):
        parts.append(f"{_values(feature.value_count.min, feature.value_count.max)} a row")
    domain = feature.WhichOneof("domain_info")
    if domain == "domain":
        named = next((d for d in schema.string_domain if d.name == feature.domain), None)
        parts.append(f"one of {_some(list(named.value)) if named else feature.domain}")
    elif domain == "string_domain":
        parts.append(f"one of {_some(list(feature.string_domain.value))}")
    elif domain in ("int_domain", "float_domain"):
        bounds = getattr(feature, domain)
        low = f"{bounds.min:g}" if bounds.HasField("min") else "-inf"
        high = f"{bounds.max:g}" if bounds.HasField("max") else "inf"
        parts.append(f"in [{low}, {high}]")
    return ", ".join(parts)


def _found(column: str, statistics: statistics_pb2.DatasetFeatureStatistics | None) -> str | None:
    """What the statistics say of a column, in a few words; None without statistics."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    if statistics is None:
        return None
    if column == _DATASET:
        return f"{statistics.num_examples} rows"
    stats = next(
        (f for f in statistics.features if (f.name or ".".join(f.path.step)) == column), None
    )
    if stats is None:
        return "no such column"
    # Statistics call STRING what a schema calls BYTES.
    found = statistics_pb2.FeatureNameStatistics.Type.Name(stats.type).replace("STRING", "BYTES")
    parts = [f"type {found}"]
    kind = stats.WhichOneof("stats")
    if kind is not None:
        common = getattr(stats, kind).common_stats
        rows = common.num_non_missing + common.num_missing
        if rows:
            parts.append(f"present in {common.num_non_missing} of {rows} rows")
        if common.num_non_missing:
            parts.append(f"{_values(common.min_num_values, common.max_num_values)} a row")
    if kind == "num_stats":
        parts.append(f"in [{stats.num_stats.min:g}, {stats.num_stats.max:g}]")
    elif kind == "string_stats":
        top = [value.value for value in stats.string_stats.top_values]
        parts.append(f"{stats.string_stats.unique} values" + (f": {_some(top)}" if top else ""))
    return ", ".join(parts)


def _values(least: int, most: int) -> str:
    """A number of values; `most` 0 has no upper bound, as in a schema."""
    if least == most:
        return f"{least} value" if least == 1 else f"{least} values"
    return f"{least} to {most} values" if most > least else f"at least {_values(least, least)}"


def _some(values: list[str], count: int = 5) -> str:
    shown = ", ".join(values[:count])
    return shown if len(values) <= count else f"{shown} and {len(values) - count} more"
