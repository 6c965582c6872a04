"""The quality gate on real TFMA results: every reason to refuse, and what it writes."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.beam.helping import Helped
from tfx_pipeline.components.evaluator.executor import judge_evaluation
from tfx_pipeline.config.data import SplitConfig
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.gates.metrics import metrics_of
from tfx_pipeline.gates.same_split import split_record
from tfx_pipeline.gates.verdict import Verdict

pytestmark = pytest.mark.slow

Config = Callable[..., PipelineConfig]
Evaluate = Callable[..., tuple[Verdict, Any]]


def test_a_good_model_is_blessed_with_every_metric_of_its_task(
    config: Config, evaluate: Evaluate
) -> None:
    thresholds = [{"metric": "auc", "min": 0.9}, {"metric": "log_loss", "max": 0.6}]
    verdict, _ = evaluate(config(thresholds=thresholds, slices=[["group"]]))
    assert verdict.blessed
    assert not verdict.failed
    overall = verdict.metrics["overall"]
    assert set(overall) == {
        *("auc", "auc_pr", "accuracy", "precision", "recall", "log_loss", "calibration", "ece"),
        "example_count",
    }
    assert overall["example_count"] == 300
    assert verdict.metrics["group=tiny"]["example_count"] == 5
    # Slices are measured and shown even where no threshold holds on them.
    assert verdict.metrics["group=tiny"]["auc"] is None


def test_two_processes_measure_what_one_does(
    config: Config,
    evaluate: Evaluate,
    small: Any,
    tmp_path: Path,
    helped: Helped,
) -> None:
    """To the last bit; the rows are in three files."""
    import tensorflow as tf

    options = tf.io.TFRecordOptions(compression_type="GZIP")
    [whole] = (small.examples / "Split-eval").iterdir()
    records = list(tf.data.TFRecordDataset(str(whole), "GZIP").as_numpy_iterator())
    folder = tmp_path / "examples" / "Split-eval"
    folder.mkdir(parents=True)
    for number in range(3):
        path = folder / f"data-{number}.gz"
        with tf.io.TFRecordWriter(str(path), options) as writer:
            for record in records[number::3]:
                writer.write(record)
    gate = config(thresholds=[{"metric": "auc", "min": 0.9}], slices=[["group"]])
    one, _ = evaluate(gate, examples=folder.parent)
    assert not helped.read
    two, _ = evaluate(gate, examples=folder.parent, processes=2)
    assert sorted({Path(path).name for path in helped.read}) == [f"data-{n}.gz" for n in range(3)]
    assert two.metrics == one.metrics
    assert two.metrics["overall"]["example_count"] == 300


def test_a_bad_model_is_refused_by_how_much(config: Config, evaluate: Evaluate) -> None:
    verdict, _ = evaluate(config(thresholds=[{"metric": "auc", "min": 0.9}]), "bad")
    (check,) = verdict.failed
    assert check.what == "auc"
    assert check.slice == "overall"
    assert check.threshold == ">= 0.9"
    assert isinstance(check.measured, float)
    assert check.margin == check.measured - 0.9 < -0.5


def test_no_threshold_refuses(config: Config, evaluate: Evaluate) -> None:
    verdict, _ = evaluate(config())
    assert not verdict.blessed
    assert "no threshold" in verdict.reason
    assert verdict.metrics["overall"]["auc"] is not None


def test_no_examples_refuse(config: Config, evaluate: Evaluate, small: Any) -> None:
    gate = config(thresholds=[{"metric": "auc", "min": 0.1, "max_regression": 0.1}])
    verdict, _ = evaluate(gate, examples=small.empty_examples)
    assert not verdict.blessed
    assert {check.reason for check in verdict.failed} == {"no examples"}


def test_a_slice_that_cannot_be_measured_refuses(config: Config, evaluate: Evaluate) -> None:
    gate = {"thresholds": [{"metric": "auc", "min": 0.5, "slices": True}], "slices": [["group"]]}
    verdict, _ = evaluate(config(**gate))
    (check,) = verdict.failed
    assert check.slice == "group=tiny"
    assert "one class" in check.reason


def test_a_slice_below_min_slice_examples_is_reported_only(
    config: Config, evaluate: Evaluate
) -> None:
    gate = {"thresholds": [{"metric": "auc", "min": 0.5, "slices": True}], "slices": [["group"]]}
    verdict, _ = evaluate(config(**gate, min_slice_examples=6))
    assert verdict.blessed
    excused = [check for check in verdict.checks if check.slice == "group=tiny"]
    assert len(excused) == 1
    assert "min_slice_examples" in excused[0].reason


def test_predictions_that_are_nan_refuse(config: Config, evaluate: Evaluate) -> None:
    verdict, _ = evaluate(config(thresholds=[{"metric": "auc", "min": 0.0}]), "nan")
    (check,) = verdict.failed
    assert check.measured is None
    assert "not a number" in check.reason


def test_the_first_model_has_no_baseline_yet(config: Config, evaluate: Evaluate) -> None:
    verdict, _ = evaluate(config(thresholds=[{"metric": "auc", "max_regression": 0.01}]))
    assert verdict.blessed
    assert verdict.checks[0].reason == "no baseline yet"


def test_a_worse_model_than_the_last_is_refused(config: Config, evaluate: Evaluate) -> None:
    names = ["auc", "log_loss", "calibration"]  # Better is higher, lower, nearer to 1.
    gate = config(thresholds=[{"metric": name, "max_regression": 0.01} for name in names])
    verdict, blessing = evaluate(gate, "bad", baseline="good")
    assert [check.what for check in verdict.failed] == names
    for check in verdict.failed:
        assert check.baseline == verdict.baseline_metrics["overall"][check.what]
        assert check.margin is not None
        assert check.margin < 0
        assert "worse than the last" in check.reason
    assert blessing.get_int_custom_property("baseline_model_id") == 3


def test_a_better_model_than_the_last_is_blessed(config: Config, evaluate: Evaluate) -> None:
    gate = config(thresholds=[{"metric": "auc", "max_regression": 0.0}])
    verdict, _ = evaluate(gate, "good", baseline="bad")
    assert verdict.blessed
    assert (verdict.checks[0].margin or 0) > 0.5


@pytest.mark.parametrize(
    ("task", "thresholds"),
    [
        ("multiclass", [{"metric": "accuracy", "min": 0.6}, {"metric": "log_loss", "max": 0.9}]),
        ("regression", [{"metric": "rmse", "max": 0.6}, {"metric": "r2", "min": 0.7}]),
        (
            "multilabel",
            [{"metric": "macro_auc", "min": 0.9}, {"metric": "hamming_loss", "max": 0.2}],
        ),
        (
            "quantile",
            [{"metric": "pinball_loss", "max": 0.2}, {"metric": "quantile_error", "max": 0.1}],
        ),
    ],
)
def test_other_tasks(
    config: Config, evaluate: Evaluate, task: str, thresholds: list[dict[str, Any]]
) -> None:
    gate = config(task, thresholds=thresholds, slices=[["group"]])
    verdict = evaluate(gate)[0]
    assert verdict.blessed
    for name in ("overall", "group=big"):
        assert set(verdict.metrics[name]) == {*metrics_of(task), "example_count"}
    assert len(evaluate(gate, "bad")[0].failed) == 2


def test_unreadable_results_refuse(config: Config, tmp_path: Path) -> None:
    gate = config(thresholds=[{"metric": "auc", "min": 0.0}]).gates.quality
    for name in ("metrics", "validations"):
        (tmp_path / f"{name}-00000-of-00001.tfrecord").write_bytes(b"not a record at all")
    verdict = judge_evaluation(gate, str(tmp_path))
    assert not verdict.blessed
    assert "cannot be read" in verdict.reason
    verdict = judge_evaluation(gate, str(tmp_path / "absent"))
    assert not verdict.blessed


def test_metrics_agree_with_stock_tfma(config: Config, evaluate: Evaluate, small: Any) -> None:
    import tensorflow as tf
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.metrics import metric_types

    verdict, _ = evaluate(config(thresholds=[{"metric": "auc", "min": 0.9}]))
    path = str(small.examples / "Split-eval" / "data.gz")
    rows = list(tf.data.TFRecordDataset(path, compression_type="GZIP").as_numpy_iterator())
    model = tf.saved_model.load(str(small.model("binary", "good") / "Format-Serving"))
    predictions = model.signatures["serving_default"](tf.constant(rows))["predictions"].numpy()
    labels = model.signatures["transform_features"](tf.constant(rows))["label_xf"].numpy()
    for stock, name, tolerance in (
        (tfma.metrics.AUC(name="m"), "auc", 1e-3),
        (tfma.metrics.BinaryAccuracy(name="m"), "accuracy", 1e-9),
        (tfma.metrics.Precision(name="m"), "precision", 1e-9),
        (tfma.metrics.Recall(name="m"), "recall", 1e-9),
        (tfma.metrics.BinaryCrossEntropy(name="m"), "log_loss", 1e-5),
    ):
        result = _stock(stock, metric_types, labels, predictions)
        assert verdict.metrics["overall"][name] == pytest.approx(result, abs=tolerance), name


def _stock(metric: Any, metric_types: Any, labels: Any, predictions: Any) -> float:
    values: dict[Any, Any] = {}
    for computation in metric.computations():
        if isinstance(computation, metric_types.MetricComputation):
            combiner = computation.combiner
            combiner.setup()
            state = combiner.create_accumulator()
            for label, prediction in zip(labels, predictions, strict=True):
                state = combiner.add_input(
                    state,
                    metric_types.StandardMetricInputs(
                        label=np.asarray(label), prediction=np.asarray(prediction),
                        example_weight=np.array([1.0]),
                    ),
                )  # fmt: skip
            values.update(combiner.extract_output(state))
        else:
            values.update(computation.result(values))
    return float(next(v for k, v in values.items() if k.name == "m"))


def test_a_last_blessed_model_that_no_longer_runs_refuses_what_compares_with_it(
    config: Config, evaluate: Evaluate, tmp_path: Path
) -> None:
    """A column that it reads is gone, say: no comparison, no blessing, and no crash."""
    (tmp_path / "Format-Serving").mkdir()
    compared = config(thresholds=[{"metric": "auc", "min": 0.9, "max_regression": 0.1}])
    verdict, _ = evaluate(compared, baseline=tmp_path)
    assert not verdict.blessed
    (check,) = verdict.failed
    assert "does not run on these data" in check.reason
    assert "max_regression" in check.reason
    verdict, _ = evaluate(config(thresholds=[{"metric": "auc", "min": 0.9}]), baseline=tmp_path)
    assert verdict.blessed


def test_a_last_blessed_model_that_may_have_seen_the_eval_rows_is_not_compared_with(
    config: Config, evaluate: Evaluate
) -> None:
    """A column was added to the data, so that the hash of the whole row moved every row."""
    before = split_record(SplitConfig(), ["x"])
    now = split_record(SplitConfig(), ["x", "group"])
    compared = config(thresholds=[{"metric": "auc", "min": 0.9, "max_regression": 0.1}])
    verdict, _ = evaluate(compared, baseline="good", split_by=(now, before))
    assert not verdict.blessed
    (check,) = verdict.failed
    assert "not comparable" in check.reason
    assert "group was added" in check.reason
    assert "Leave max_regression out" in check.reason
    assert verdict.baseline_metrics == {}
    assert evaluate(compared, baseline="good", split_by=(now, now))[0].blessed
    alone = config(thresholds=[{"metric": "auc", "min": 0.9}])
    assert evaluate(alone, baseline="good", split_by=(now, before))[0].blessed


def test_a_last_blessed_model_of_other_quantiles_is_not_compared_with(
    config: Config, evaluate: Evaluate, small: Any, tmp_path: Path
) -> None:
    """Measured as what it does not say, it would be bad, and the new model no worse."""
    shutil.copytree(small.model("quantile", "good"), tmp_path / "last")
    described = tmp_path / "last/Format-Serving/assets.extra/assay_signature.json"
    described.write_text('{"task": "quantile", "quantiles": [0.05, 0.5, 0.95]}')
    thresholds = [{"metric": "pinball_loss", "max": 0.2, "max_regression": 0.1}]
    verdict, _ = evaluate(config("quantile", thresholds=thresholds), baseline=tmp_path / "last")
    (check,) = verdict.failed
    assert "its quantiles are [0.05, 0.5, 0.95], not [0.1, 0.5, 0.9]" in check.reason
    assert verdict.baseline_metrics == {}


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ConnectionResetError("connection reset by peer"),
        MemoryError(),
    ],
)
def test_a_fault_of_the_machine_is_no_fault_of_the_last_blessed_model(
    config: Config, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    from tfx.components.evaluator import executor as stock

    original = stock.Executor.Do

    def fail(self: Any, inputs: dict[str, list[Any]], *others: Any) -> None:
        if inputs["baseline_model"]:
            raise RuntimeError("a step of Beam has failed") from fault
        original(self, inputs, *others)

    monkeypatch.setattr(stock.Executor, "Do", fail)
    gate = config(thresholds=[{"metric": "auc", "max_regression": 0.1}])
    with pytest.raises(RuntimeError, match="step of Beam"):
        evaluate(gate, baseline="good")
