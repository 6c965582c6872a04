"""`LocalRunner`: Beam's runner for jobs on this machine, by passes over the rows.

Beam's FnApiRunner keeps every collection, rows too, encodes it between stages, and reads and
writes TFRecords in Python. This one runs the same functions and combiners of TFDV, TFT and TFMA on
the same elements. A pipeline with a step that it does not know goes to FnApiRunner as a whole.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from apache_beam.metrics.metric import MetricResults
from apache_beam.options.value_provider import RuntimeValueProvider
from apache_beam.pipeline import Pipeline
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult, PipelineState

from tfx_pipeline.runners.beam.local import passes, workers, writes
from tfx_pipeline.runners.beam.local.accumulators import Store
from tfx_pipeline.runners.beam.local.plan import Unsupported, make_plan
from tfx_pipeline.runners.beam.local.signatures import once_a_class

log = logging.getLogger(__name__)


class LocalRunner(FnApiRunner):  # type: ignore[misc]
    """Named by its path: `--runner=tfx_pipeline.runners.beam.local.runner.LocalRunner`."""

    def apply(self, transform: Any, input: Any, options: Any) -> Any:  # noqa: A002
        """Adds a transform to a pipeline that is being built."""
        _remember_views(options)
        with once_a_class():
            written = writes.expand(transform, input)
            return super().apply(transform, input, options) if written is None else written

    def run_pipeline(self, pipeline: Pipeline, options: Any) -> PipelineResult:
        """Runs a pipeline to its end."""
        RuntimeValueProvider.set_runtime_options({})
        with workers.job():
            try:
                steps = make_plan(pipeline)
            except Unsupported as unknown:
                log.warning("Beam's own runner takes this job, for it has %s", unknown)
                return super().run_pipeline(pipeline, options)
            store = Store.of(options)
            started = time.monotonic()
            with once_a_class():
                count = passes.run(steps, store, workers.Helpers.of(options))
        took = time.monotonic() - started
        log.info("%d steps, %d passes over the rows: %.1f s", len(steps), count, took)
        return Done(store)


def _remember_views(options: Any) -> None:
    """Has the options of a pipeline make each of their views once: Beam asks for one with every
    transform, and builds an `ArgumentParser` for it, a third of the time that building takes."""
    if "view_as" in vars(options):
        return
    view_as, views = options.view_as, {}

    def remembered(kind: Any) -> Any:
        if kind not in views:
            views[kind] = view_as(kind)
        return views[kind]

    object.__setattr__(options, "view_as", remembered)


class Done(PipelineResult):  # type: ignore[misc]
    """A job that has ended well; it counted nothing but files.

    Attributes:
        files: How many the job asked its store of accumulators for.
        known: How many of them were there.
    """

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(PipelineState.DONE)
        self.files, self.known = (store.files, store.known) if store else (0, 0)

    def wait_until_finish(self, duration: Any = None) -> str:
        return str(self._state)

    def metrics(self) -> MetricResults:
        return _NoMetrics()


class _NoMetrics(MetricResults):  # type: ignore[misc]
    def query(self, filter: Any = None) -> dict[str, list[Any]]:  # noqa: A002
        return {self.COUNTERS: [], self.DISTRIBUTIONS: [], self.GAUGES: [], self.STRINGSETS: []}
