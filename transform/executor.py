"""TFX's Transform executor, repeatable: rows come in batches of one size.

Same inputs, exec properties and artifacts as `tfx.components.transform.executor.Executor`. Beam
would find the size by the clock, and sums of floats (with them means, the model's weights, every
figure) would differ in their last bits from run to run.
"""

from __future__ import annotations

import atexit
import gc
import json
import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfx.components.transform import executor as tfx_executor
from tfx.types import standard_component_specs

from transform.spans import by_span, copy_files, joined
from transform.tracing import traced_once

_log = logging.getLogger(__name__)

# A batch of decoded pictures or series holds this many bytes at most; other rows are small.
_BATCH_BYTES = 64 * 2**20
_BATCH_ROWS = 1000

# The fields whose product is a row's floats.
_SIZES = {"image": ("height_px", "width_px", "channels"), "series": ("length", "channels")}

_PROCESSOR, _SIZE = "TransformProcessor", "_GetDesiredBatchSize"

# A process in which TFT 1.21 has analyzed ends, on TensorFlow 2.21, with SIGSEGV in the garbage
# collection of the interpreter's exit. With its objects frozen, that collection leaves them alone.
atexit.register(gc.freeze)

# What `batches_of` exchanges is the process's: one Transform at a time.
_LOCK = threading.Lock()


class Executor(tfx_executor.Executor):
    """Drop-in for TFX's executor: `custom_executor_spec` of a `Transform` component."""

    def Do(
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        node = getattr(self._context, "pipeline_node", None)
        if node is not None and not node.execution_options.caching_options.enable_cache:
            analyzer_cache = standard_component_specs.ANALYZER_CACHE_KEY
            input_dict = {k: v for k, v in input_dict.items() if k != analyzer_cache}
        rows = batch_rows(exec_properties.get(standard_component_specs.CUSTOM_CONFIG_KEY))
        with _LOCK, batches_of(rows), traced_once():
            super().Do(input_dict, output_dict, exec_properties)


def batch_rows(custom_config: str | None) -> int:
    """Rows of a batch, from Transform's `custom_config` (JSON): it follows from the config alone.

    A thousand is what TFX's readers stop at; fewer where the pictures of so many would be large.
    """
    config = json.loads(custom_config or "null") or {}
    columns = config.get("transform", {}).get("features", {}).get("columns", {}).values()
    floats = sum(
        math.prod(column[name] for name in _SIZES[column["kind"]])
        for column in columns
        if column["kind"] in _SIZES
    )
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // (4 * floats))) if floats else _BATCH_ROWS


@contextmanager
def batches_of(rows: int) -> Iterator[None]:
    """Lets TFX's executor read rows in batches of one size.

    It names the class of its processor, and no hook to exchange it: so the name is bound to a
    subclass for a while. In a version of TFX without these names (the lock pins one that has them)
    nothing is exchanged, and the log says what that costs.
    """
    stock = getattr(tfx_executor, _PROCESSOR, None)
    if not hasattr(stock, _SIZE):
        _log.warning(
            "tfx.components.transform has no %s.%s in this version: figures may differ in their "
            "last bits from run to run",
            _PROCESSOR,
            _SIZE,
        )
        yield
        return

    class Processor(stock):  # type: ignore[misc, valid-type]
        def _GetDesiredBatchSize(self, *given: Any, **named: Any) -> int:
            # Sequence examples that are decoded as raw records need batches of one.
            return super()._GetDesiredBatchSize(*given, **named) or rows

        def _MakeDatasetList(self, *given: Any, **named: Any) -> list[Any]:
            return by_span(super()._MakeDatasetList, *given, **named)

        def _MakeProcessJointlyDatasetList(
            self, datasets: Any, input_schema: Any, analyze_input_columns: list[str]
        ) -> list[Any]:
            dataset = joined(datasets)
            tfxio = self._CreateTFXIO(dataset, input_schema)
            dataset.tfxio = tfxio.Project(analyze_input_columns)
            return [dataset]

        @classmethod
        def _EnableIncrementalCache(cls) -> bool:
            return True  # With so many analyzers that not every span can be cached, some are.

        @staticmethod
        def _CopyCache(src: str, dst: str) -> None:
            copy_files(src, dst)

    setattr(tfx_executor, _PROCESSOR, Processor)
    try:
        yield
    finally:
        setattr(tfx_executor, _PROCESSOR, stock)
