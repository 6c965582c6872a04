"""TFMA's metric and extractors of ours: batches of rows are sliced and measured at once.

Stock TFMA unbatches after prediction and then handles one row, slice and metric at a time, which
is most of an evaluation's time. Both places are extension points of TFMA: custom extractors
(https://www.tensorflow.org/tfx/model_analysis/architecture) and `tfma.metrics.Metric`. Everything
else (reading, models, labels, Beam, thresholds, the files written) is TFMA's own.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.extractors import slice_key_extractor, unbatch_extractor
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from tfx_pipeline.gates.measures import MEASURES, summarise
from tfx_pipeline.gates.metrics import metrics_of
from trainer.measures.sums import EXAMPLE_COUNT, Array
from transform.label_config import Task

SUMMARIES_KEY = "assay_summaries"  # In extracts: {model's name: summary}.

_ROW = "row"

SliceKey = tuple[tuple[str, object], ...]


class TaskMetrics(tfma.metrics.Metric):  # type: ignore[misc]
    """All metrics of a task (`tfx_pipeline.gates.measures`) as one TFMA metric.

    Args:
        task: What kind of label.
        levels: The quantiles of that task.
        name: TFMA's name of the group; the metrics themselves are named as in `measures`.
    """

    def __init__(
        self, task: Task, levels: Sequence[float] = (), name: str = "task_metrics"
    ) -> None:
        super().__init__(
            metric_util.merge_per_key_computations(_computations),
            task=task,
            levels=levels,
            name=name,
        )


def custom_extractors(
    eval_shared_model: types.MaybeMultipleEvalSharedModels,
    eval_config: config_pb2.EvalConfig,
    tensor_adapter_config: Any,
) -> list[tfma.extractors.Extractor]:
    """TFMA's default extractors with its row-by-row slicing replaced by `SummariseSlices`.

    The name is the one that TFX's Evaluator looks up in its `module_path`.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    slicing = slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME
    by_row = (unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME, slicing)
    kept = [extractor for extractor in extractors if extractor.stage_name not in by_row]
    measured = json.loads(eval_config.metrics_specs[0].metrics[0].config)
    specs = [list(spec.feature_keys) for spec in eval_config.slicing_specs]
    models = {spec.name: spec.prediction_key for spec in eval_config.model_specs}
    return [
        *kept,
        tfma.extractors.Extractor(
            stage_name=slicing,  # TFMA's evaluator asks to run after the stage of this name.
            ptransform=beam.ParDo(SummariseSlices(specs=specs, models=models, **measured)),
        ),
    ]


class SummariseSlices(beam.DoFn):  # type: ignore[misc]
    """From a batch of extracts to one extract for each slice, with each model's summary.

    Args:
        task: The label's kind.
        specs: Columns of each slicing; the empty list is the overall slice.
        models: Model's name to the key of the output that is measured.
        levels: The quantiles of that task.
    """

    def __init__(
        self,
        task: Task,
        specs: list[list[str]],
        models: dict[str, str],
        levels: Sequence[float] = (),
    ) -> None:
        self._task = task
        self._levels = levels
        self._specs = specs
        self._models = models

    def process(self, extracts: types.Extracts) -> Iterator[types.Extracts]:
        labels, predictions = extracts[tfma.LABELS_KEY], extracts[tfma.PREDICTIONS_KEY]
        one = len(self._models) == 1
        pairs = {
            name: (
                np.asarray(labels if one else labels[name]),
                _output(predictions if one else predictions[name], output),
            )
            for name, output in self._models.items()
        }
        count = len(next(iter(pairs.values()))[0])
        for key, rows in _slices(extracts[tfma.FEATURES_KEY], self._specs, count):
            keys = np.empty(1, object)
            keys[0] = key
            yield {
                tfma.SLICE_KEY_TYPES_KEY: keys,
                SUMMARIES_KEY: {
                    name: summarise(self._task, label[rows], prediction[rows], self._levels)
                    for name, (label, prediction) in pairs.items()
                },
            }


def _output(predictions: Any, name: str) -> npt.NDArray[Any]:
    """One output of a model; of a model with one output, TFMA hands over that alone."""
    return np.asarray(predictions[name] if isinstance(predictions, dict) else predictions)


def _slices(
    features: dict[str, Any], specs: list[list[str]], count: int
) -> Iterator[tuple[SliceKey, Any]]:
    """Each slice's key and the indices of its rows. A row without a value is in no slice."""
    for columns in specs:
        if not columns:
            yield (), slice(None)
            continue
        if any(column not in features for column in columns):
            continue
        places = list(range(len(columns)))
        frames = [_values(features[columns[place]], place) for place in places]
        table = functools.reduce(lambda left, right: left.merge(right, on=_ROW), frames)
        for values, rows in table.groupby(places, sort=True)[_ROW]:
            yield tuple(zip(columns, values, strict=True)), np.unique(rows.to_numpy())


def _values(tensor: Any, place: int) -> pd.DataFrame:
    """A column's values as a table of row number (`_ROW`) and value (`place`: the user's columns
    may have any name); text as str, as TFMA's keys have it."""
    if isinstance(tensor, types.VarLenTensorValue):
        values, rows = np.asarray(tensor.values), np.asarray(tensor.indices)[:, 0]
    else:
        matrix = np.asarray(tensor).reshape(len(tensor), -1)
        values, rows = matrix.reshape(-1), np.repeat(np.arange(len(matrix)), matrix.shape[1])
    if values.dtype.kind in "OS":
        values = np.array(
            [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values], object
        )
    return pd.DataFrame({_ROW: rows, place: values}).dropna()


class _Summaries(metric_types.Preprocessor):  # type: ignore[misc]
    """Hands one model's summary to the combiner."""

    def __init__(self, model_name: str) -> None:
        super().__init__(name=f"summaries:{model_name}")
        self._model_name = model_name

    def process(self, extracts: types.Extracts) -> Iterable[Array]:
        yield extracts[SUMMARIES_KEY][self._model_name]


class _Combine(beam.CombineFn):  # type: ignore[misc]
    """Adds the summaries up and reads the metrics off."""

    def __init__(self, task: Task, keys: dict[str, metric_types.MetricKey]) -> None:
        self._how = MEASURES[task]
        self._keys = keys

    def create_accumulator(self) -> list[Array]:
        return []

    def add_input(self, accumulator: list[Array], summary: Array) -> list[Array]:
        return self.compact([*accumulator, summary])

    def merge_accumulators(self, accumulators: Iterable[list[Array]]) -> list[Array]:
        return self.compact([summary for some in accumulators for summary in some])

    def compact(self, accumulator: list[Array]) -> list[Array]:
        return [self._how.merge(accumulator)] if len(accumulator) > 1 else accumulator

    def extract_output(self, accumulator: list[Array]) -> dict[metric_types.MetricKey, float]:
        if not accumulator:
            return {}
        (summary,) = self.compact(accumulator)
        return {self._keys[name]: value for name, value in self._how.metrics(summary).items()}


def _computations(
    task: Task, levels: Sequence[float] = (), name: str = "", model_name: str = ""
) -> list[metric_types.MetricComputation]:
    # `example_weighted=None` is how TFMA's thresholds name a metric that is in no metric config.
    keys = {
        metric: metric_types.MetricKey(name=metric, model_name=model_name, example_weighted=None)
        for metric in (*metrics_of(task, levels), EXAMPLE_COUNT)
    }
    return [
        metric_types.MetricComputation(
            keys=list(keys.values()),
            preprocessors=[_Summaries(model_name)],
            combiner=_Combine(task, keys),
        )
    ]
