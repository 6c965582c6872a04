"""Slicing a batch, whatever the columns are called."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize("columns", [["row"], ["row", "index"], ["0", "row"]])
def test_a_column_may_have_any_name(columns: list[str]) -> None:
    import tensorflow_model_analysis as tfma

    from tfx_pipeline.gates.tfma_metrics import SUMMARIES_KEY, SummariseSlices

    values = np.array([[b"x"], [b"y"], [b"x"]], object)
    extracts = {
        tfma.LABELS_KEY: np.zeros((3, 1)),
        tfma.PREDICTIONS_KEY: np.zeros((3, 1)),
        tfma.FEATURES_KEY: dict.fromkeys(columns, values),
    }
    found = SummariseSlices("regression", [columns], {"": "predictions"}).process(extracts)
    rows = {slice_[tfma.SLICE_KEY_TYPES_KEY][0]: slice_[SUMMARIES_KEY][""][0] for slice_ in found}
    assert rows == {
        tuple((column, "x") for column in columns): 2,
        tuple((column, "y") for column in columns): 1,
    }
