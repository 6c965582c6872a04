"""TFX's Transform executor without the work that it does more than once, and repeatable.

Same inputs, exec properties and artifacts as `tfx.components.transform.executor.Executor`. On a
small table most of its time goes into building Beam's graph and into loading the transform graph,
and here

- all splits are transformed with one loaded graph instead of one each;
- an analyzer's cache entry is written by one step instead of Beam's sixteen;
- the signature of a DoFn's method is inspected once instead of some fifty times.

Rows come in batches of one size. Beam would find the size by the clock, and sums of floats (with
them means, the model's weights, every figure) would differ in their last bits from run to run.

These reach into TFT and Beam at the versions that the lock pins, only while the executor runs.
`tests/transform/test_executor.py` compares what it leaves with what the stock executor leaves.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any
from unittest import mock

import apache_beam as beam
import tensorflow as tf
from apache_beam.transforms import core
from apache_beam.utils import shared
from tensorflow_transform.beam import impl
from tfx.components.transform import executor as tfx_executor
from tfx.types import standard_component_specs

# A batch of decoded pictures holds this many bytes at most; other rows are small.
_BATCH_BYTES = 64 * 2**20
_BATCH_ROWS = 1000

# A process in which TFT 1.21 has analyzed ends, on TensorFlow 2.21, with SIGSEGV in the garbage
# collection of the interpreter's exit. With its objects frozen, that collection leaves them alone.
atexit.register(gc.freeze)

# The patches below are the process's: one Transform at a time.
_LOCK = threading.Lock()


class Executor(tfx_executor.Executor):
    """Drop-in for TFX's executor: `custom_executor_spec` of a `Transform` component."""

    def Do(
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        rows = batch_rows(exec_properties.get(standard_component_specs.CUSTOM_CONFIG_KEY))
        with _LOCK, ExitStack() as stack:
            stack.enter_context(mock.patch.object(_Processor, "batch_rows", rows))
            stack.enter_context(method_signatures_once())
            stack.enter_context(_one_loaded_graph())
            stack.enter_context(mock.patch.object(tfx_executor, "TransformProcessor", _Processor))
            super().Do(input_dict, output_dict, exec_properties)


def batch_rows(custom_config: str | None) -> int:
    """Rows of a batch, from Transform's `custom_config` (JSON): it follows from the config alone.

    A thousand is what TFX's readers stop at; fewer where the pictures of so many would be large.
    """
    config = json.loads(custom_config or "null") or {}
    columns = config.get("transform", {}).get("features", {}).get("columns", {}).values()
    pixels = sum(
        column["height_px"] * column["width_px"] * column["channels"]
        for column in columns
        if column["kind"] == "image"
    )
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // (4 * pixels))) if pixels else _BATCH_ROWS


class _Processor(tfx_executor.TransformProcessor):
    """TFX's processor, with a smaller sink for the analyzer cache and batches of one size."""

    batch_rows = _BATCH_ROWS

    def _GetDesiredBatchSize(self, data_format: int, schema: Any) -> int:
        # Sequence examples that are decoded as raw records need batches of one.
        return super()._GetDesiredBatchSize(data_format, schema) or self.batch_rows

    @staticmethod
    def _GetCacheSink() -> type[beam.PTransform]:
        return _WriteCacheEntry


class _WriteCacheEntry(beam.PTransform):
    """Writes a cache entry (one small record, seldom a few) as TFT's own reader expects it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        return (
            pcoll.pipeline
            | beam.Impulse()
            | beam.Map(_write_records, path=self._path, records=beam.pvalue.AsList(pcoll))
        )


def _write_records(_: bytes, path: str, records: list[bytes]) -> None:
    final = f"{path}-00000-of-00001.gz"
    with tf.io.TFRecordWriter(f"{final}.tmp", "GZIP") as writer:
        for record in records:
            writer.write(record)
    tf.io.gfile.rename(f"{final}.tmp", final, overwrite=True)


@contextmanager
def _one_loaded_graph() -> Iterator[None]:
    """Lets the `TransformDataset` of every split hold the same transform graph in memory."""
    handle = shared.Shared()
    original = impl.TransformDataset.expand

    def expand(self: beam.PTransform, pvalues: Any) -> Any:
        with mock.patch.object(impl, "shared", SimpleNamespace(Shared=lambda: handle)):
            return original(self, pvalues)

    with mock.patch.object(impl.TransformDataset, "expand", expand):
        yield


@contextmanager
def method_signatures_once() -> Iterator[None]:
    """Remembers what Beam reads out of the signatures of DoFn methods.

    Beam asks for the arguments of every method of every DoFn each time that it builds, checks,
    translates or starts a step; the answer depends on the function alone. Any Beam pipeline may
    run under it.
    """
    original = core.get_function_args_defaults

    @functools.lru_cache(maxsize=4096)
    def of_method(function: FunctionType) -> tuple[list[str], list[Any]]:
        return original(MethodType(function, None.__class__))

    def arguments(function: Callable[..., Any]) -> tuple[list[str], list[Any]]:
        if not isinstance(function, MethodType) or not isinstance(function.__func__, FunctionType):
            return original(function)
        names, defaults = of_method(function.__func__)
        return list(names), list(defaults)

    with mock.patch.object(core, "get_function_args_defaults", arguments):
        yield
