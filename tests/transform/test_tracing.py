"""Inspections of a `preprocessing_fn` share a trace, and answer as they do without."""

from __future__ import annotations

from typing import Any

import pytest

from transform.tracing import traced_once


@pytest.mark.slow
def test_inspections_share_a_trace() -> None:
    import tensorflow as tf
    import tensorflow_transform as tft
    from tensorflow_transform import impl_helper, inspect_preprocessing_fn
    from tensorflow_transform.beam import analysis_graph_builder
    from tensorflow_transform.beam.analyzer_cache import DatasetKey

    traces: list[list[str]] = []

    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        traces.append(sorted(inputs))
        return {"x": tft.scale_to_z_score(inputs["x"]), "y": inputs["y"] + 1}

    def answers(*columns: str) -> list[Any]:
        specs = {name: tf.TensorSpec([None], tf.float32) for name in columns}
        keys = {DatasetKey("a"), DatasetKey("b")}
        return [
            inspect_preprocessing_fn.get_analyze_input_columns(preprocessing_fn, specs),
            inspect_preprocessing_fn.get_transform_input_columns(preprocessing_fn, specs),
            analysis_graph_builder.get_analysis_cache_entry_keys(
                preprocessing_fn, specs, keys, False
            ),
            analysis_graph_builder.get_analysis_dataset_keys(
                preprocessing_fn, specs, keys, {}, False
            ),
        ]

    stock = answers("x", "y")
    assert len(traces) == 4
    assert stock[0] == ["x"]
    assert stock[2], "an analyzer that can be cached"
    traces.clear()
    untouched = impl_helper.trace_preprocessing_function
    with traced_once():
        assert answers("x", "y") == stock
        assert traces == [["x", "y"]]
        answers("x", "y", "z")
        assert traces == [["x", "y"], ["x", "y", "z"]]
        answers("x", "y")
        assert len(traces) == 3, "the last columns alone are remembered"
    assert impl_helper.trace_preprocessing_function is untouched
