"""The data gate on real TFDV results: anomalies, drift, skew, and what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tfx_pipeline.config.gates import DriftLimit
from tfx_pipeline.gates.anomalies import SplitAnomalies, judge_anomalies
from tfx_pipeline.gates.verdict import Verdict, read_verdict

SCHEMA = """
feature { name: "kind" type: BYTES domain: "kind" presence { min_fraction: 1 min_count: 1 } }
feature { name: "size" type: FLOAT presence { min_fraction: 1 min_count: 1 }
          float_domain { min: -10 max: 10 } }
string_domain { name: "kind" value: "a" value: "b" }
"""

Judge = Callable[..., tuple[Verdict, Any]]


def _frame(seed: int = 0, shift: float = 0.0, share_of_a: float = 0.5) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    kinds = np.where(generator.random(400) < share_of_a, "a", "b")
    return pd.DataFrame({"kind": kinds, "size": generator.normal(shift, 1, 400).astype("float32")})


def _artifact(kind: Any, folder: Path, splits: list[str] | None = None) -> Any:
    made = kind()
    made.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if splits:
        made.split_names = json.dumps(splits)
    return made


def _statistics(folder: Path, **frames: pd.DataFrame) -> Any:
    import tensorflow_data_validation as tfdv
    from tfx.types import standard_artifacts
    from tfx.utils import io_utils

    artifact = _artifact(standard_artifacts.ExampleStatistics, folder, list(frames))
    for split, frame in frames.items():
        statistics = tfdv.generate_statistics_from_dataframe(frame, n_jobs=1)
        path = folder / f"Split-{split}" / "FeatureStats.pb"
        io_utils.write_bytes_file(str(path), statistics.SerializeToString())
    return artifact


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Runs stock ExampleValidator and DistributionValidator, then the gate."""

    def run(
        train: pd.DataFrame,
        evaluation: pd.DataFrame,
        fail_on: str = "error",
        drift: dict[str, DriftLimit] | None = None,
        skew: dict[str, DriftLimit] | None = None,
        before: pd.DataFrame | None = None,
        break_files: bool = False,
    ) -> tuple[Verdict, Any]:
        from tfx.components.distribution_validator import executor as distribution
        from tfx.components.example_validator import executor as validator
        from tfx.types import standard_artifacts

        from tfx_pipeline.components.data_gate.component import GateVerdict
        from tfx_pipeline.components.data_gate.executor import Executor
        from tfx_pipeline.gates.drift import distribution_config

        statistics = _statistics(tmp_path / "now", train=train, eval=evaluation)
        schema = _artifact(standard_artifacts.Schema, tmp_path / "schema")
        (tmp_path / "schema" / "schema.pbtxt").write_text(SCHEMA)
        anomalies = _artifact(standard_artifacts.ExampleAnomalies, tmp_path / "anomalies")
        validator.Executor().Do(
            {"statistics": [statistics], "schema": [schema]}, {"anomalies": [anomalies]}, {}
        )
        inputs = {"anomalies": [anomalies], "statistics": [statistics], "schema": [schema]}
        baselines = [_statistics(tmp_path / "before", train=before)] if before is not None else []
        for source, limits, base, pair in (
            ("drift", drift, baselines, ["train", "train"]),
            ("skew", skew, [statistics], ["eval", "train"]),
        ):
            if limits is None:
                continue
            compared = _artifact(standard_artifacts.ExampleAnomalies, tmp_path / source)
            distribution.Executor().Do(
                {"statistics": [statistics], "baseline_statistics": base},
                {"anomalies": [compared]},
                {
                    "distribution_validator_config": distribution_config(limits),
                    "include_split_pairs": json.dumps([pair]),
                },
            )
            inputs[f"{source}_anomalies"] = [compared]
        if break_files:
            (tmp_path / "anomalies" / "Split-eval" / "SchemaDiff.pb").unlink()
        output = _artifact(GateVerdict, tmp_path / "verdict")
        Executor().Do(inputs, {"verdict": [output]}, {"fail_on": fail_on})
        verdict = read_verdict(output.uri)
        assert verdict is not None
        assert output.blessed == int(verdict.blessed)
        return verdict, output

    return run


def test_sound_data_are_blessed(judge: Judge) -> None:
    verdict, _ = judge(_frame(0), _frame(1))
    assert verdict.blessed
    assert verdict.checks == []


def test_an_anomaly_names_column_split_severity_expected_and_found(judge: Judge) -> None:
    odd = _frame(1)
    odd.loc[:9, "kind"] = "surprise"
    odd["size"] += np.float32(50)
    verdict, _ = judge(_frame(0), odd)
    kind, size = verdict.failed
    assert (kind.what, kind.slice, kind.severity) == ("kind", "eval", "error")
    assert kind.threshold == "type BYTES, present in >= 100 % of rows, one of a, b"
    rows = "type BYTES, present in 400 of 400 rows, 1 value a row, 3 values: "
    assert str(kind.measured).startswith(rows)
    assert "surprise" in str(kind.measured)
    assert "surprise" in kind.reason
    assert size.what == "size"
    assert "in [-10, 10]" in size.threshold
    assert "in [4" in str(size.measured)


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("shape { }", "1 value a row"),
        ("shape { dim { size: 2 } dim { size: 3 } }", "6 values a row"),
        ("value_count { min: 1 max: 1 }", "1 value a row"),
        ("value_count { min: 1 max: 4 }", "1 to 4 values a row"),
        ("value_count { min: 2 }", "at least 2 values a row"),
    ],
)
def test_how_many_values_a_row_are_expected(expected: str, told: str) -> None:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

    schema = text_format.Parse(
        f'feature {{ name: "x" type: FLOAT {expected} }}', schema_pb2.Schema()
    )
    found = anomalies_pb2.Anomalies()
    found.anomaly_info["x"].path.step.append("x")
    split = SplitAnomalies("schema", "train", found, schema)
    [check] = judge_anomalies([split], "error").checks
    assert check.threshold == f"type FLOAT, {told}"


def test_a_missing_and_a_new_column(judge: Judge) -> None:
    other = _frame(0).drop(columns="size").assign(extra="z")
    verdict, _ = judge(other, _frame(1))
    by_column = {check.what: check for check in verdict.checks}
    assert by_column["size"].measured == "no such column"
    assert not by_column["size"].passed
    assert by_column["extra"].threshold == "no such column"


@pytest.mark.parametrize(("fail_on", "blessed"), [("warning", False), ("error", True)])
def test_severity_decides(fail_on: Any, blessed: bool) -> None:
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    statistics = tfdv.generate_statistics_from_dataframe(_frame(0), n_jobs=1)
    anomalies = tfdv.validate_statistics(
        tfdv.generate_statistics_from_dataframe(_frame(0).assign(extra="z"), n_jobs=1),
        tfdv.infer_schema(statistics),
    )
    anomalies.anomaly_info["extra"].severity = anomalies_pb2.AnomalyInfo.WARNING
    verdict = judge_anomalies([SplitAnomalies("schema", "train", anomalies)], fail_on)
    assert [check.severity for check in verdict.checks] == ["warning"]
    assert verdict.blessed is blessed


def test_no_split_refuses() -> None:
    assert not judge_anomalies([], "error").blessed


def test_never_reports_only(judge: Judge) -> None:
    verdict, _ = judge(_frame(0).drop(columns="size"), _frame(1), "never")
    assert verdict.blessed
    assert verdict.checks
    assert "never" in verdict.reason


LIMITS = {"kind": DriftLimit(linf=0.1), "size": DriftLimit(jensen_shannon=0.1)}


def test_drift_against_the_last_run(judge: Judge) -> None:
    verdict, _ = judge(_frame(0), _frame(1), drift=LIMITS, before=_frame(2, 3.0, 0.9))
    assert [check.what for check in verdict.failed] == ["kind", "size"]
    for check in verdict.failed:
        assert check.threshold == "drift <= 0.1"
        assert check.margin is not None
        assert isinstance(check.measured, float)
        assert check.measured > 0.1
        assert check.margin < 0


def test_no_drift_is_measured_and_passes(judge: Judge) -> None:
    verdict, _ = judge(_frame(0), _frame(1), drift=LIMITS, before=_frame(2))
    assert verdict.blessed
    assert {check.what for check in verdict.checks} == {"kind", "size"}
    assert all((check.margin or 0) > 0 for check in verdict.checks)


def test_the_first_run_has_no_statistics_to_drift_from(judge: Judge) -> None:
    verdict, _ = judge(_frame(0), _frame(1), drift=LIMITS)
    assert verdict.blessed


def test_skew_between_training_and_evaluation(judge: Judge) -> None:
    verdict, _ = judge(_frame(0), _frame(1, 0.0, 0.95), skew=LIMITS)
    (check,) = verdict.failed
    assert (check.what, check.slice, check.threshold) == (
        "kind", "skew eval to train", "skew <= 0.1",
    )  # fmt: skip


def test_a_comparison_that_cannot_be_made_refuses(judge: Judge) -> None:
    verdict, _ = judge(_frame(0), _frame(1), skew={"absent": DriftLimit(linf=0.1)})
    assert not verdict.blessed
    assert "could not be done" in verdict.failed[0].reason


def test_anomalies_that_cannot_be_read_refuse(judge: Judge) -> None:
    verdict, _ = judge(_frame(0), _frame(1), break_files=True)
    assert not verdict.blessed
    assert "cannot be read" in verdict.reason
