"""A model with layers of the user's loads in a process that has not trained it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfx_pipeline.errors import NodeFailed
from trainer.keras_model import load_keras


def test_layers_of_the_users_run_fn(users_model: Path) -> None:
    with pytest.raises(NodeFailed, match=r"does not load: .*Twice") as refused:
        load_keras(users_model, [None, "trainer.run.run_fn"], users_model.parent)
    assert "register_keras_serializable" in refused.value.hint
    model = load_keras(users_model, [None, "mine.py:run_fn"], users_model.parent)
    assert model({"x": np.array([[3.0]])}).numpy() == 6.0
