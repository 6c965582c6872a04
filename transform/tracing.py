"""One trace of a `preprocessing_fn` for all questions that are asked of it.

Before it runs, TFX and TFT ask which columns are analyzed, which are transformed, and what could be
cached. Each question traces the function anew: most of Transform's seconds where the rows are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tensorflow_transform import analyzer_nodes, impl_helper

_NAME, _ANALYZERS = "trace_preprocessing_function", "TENSOR_REPLACEMENTS"


@contextmanager
def traced_once() -> Iterator[None]:
    """While this is open, an inspection of a function with the same columns as one before it gets
    that one's trace.

    There is no hook: `impl_helper.trace_preprocessing_function` is exchanged, and put back. What
    runs afterwards has traces of its own, for temporary files belong to them.
    """
    stock = getattr(impl_helper, _NAME, None)
    if stock is None or not hasattr(analyzer_nodes, _ANALYZERS):
        yield  # Another version of TFT: each traces.
        return
    setattr(impl_helper, _NAME, _Traces(stock))
    try:
        yield
    finally:
        setattr(impl_helper, _NAME, stock)


class _Traces:
    """In the place of TFT's function. A trace: the graph, its inputs, its outputs."""

    def __init__(self, stock: Callable[..., tuple[Any, Any, Any]]) -> None:
        self._stock = stock
        # The function is held, so that no other gets its identity.
        self._last: tuple[Any, dict[str, Any], tuple[Any, Any, Any], list[Any]] | None = None

    def __call__(
        self,
        preprocessing_fn: Any,
        input_specs: dict[str, Any],
        use_tf_compat_v1: bool,
        base_temp_dir: str | None = None,
    ) -> tuple[Any, Any, Any]:
        if use_tf_compat_v1 or base_temp_dir is not None:
            return self._stock(preprocessing_fn, input_specs, use_tf_compat_v1, base_temp_dir)
        if self._last is not None:
            function, specs, trace, analyzers = self._last
            if function is preprocessing_fn and specs == input_specs:
                _set_analyzers(trace[0], analyzers)
                return trace
        trace = self._stock(preprocessing_fn, input_specs, use_tf_compat_v1)
        analyzers = list(trace[0].get_collection(analyzer_nodes.TENSOR_REPLACEMENTS))
        self._last = (preprocessing_fn, dict(input_specs), trace, analyzers)
        return trace


def _set_analyzers(graph: Any, analyzers: list[Any]) -> None:
    """As after tracing: who builds the plan of an analysis takes them out of the graph."""
    graph.clear_collection(analyzer_nodes.TENSOR_REPLACEMENTS)
    for analyzer in analyzers:
        graph.add_to_collection(analyzer_nodes.TENSOR_REPLACEMENTS, analyzer)
