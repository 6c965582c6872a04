"""Pruning and clustering under MirroredStrategy over two logical CPUs, in their own process."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.processes import last_line
from trainer.compression.context import Context

ROOT = Path(__file__).parents[3]

RUN = """
import dataclasses, json, pickle, sys
from pathlib import Path
from trainer.config import TrainConfig
from trainer.strategy import configure_devices, make_strategy
train = TrainConfig(batch_size=100, logical_cpus=2)
configure_devices(train)
import numpy as np
import tf_keras
from trainer.compression.cluster import cluster
from trainer.compression.config import ClusterConfig, PruneConfig
from trainer.compression.prune import prune
folder = Path(sys.argv[1])
context = pickle.loads((folder / "context.pickle").read_bytes())
context = dataclasses.replace(context, train=train, strategy=make_strategy(train))
parent = tf_keras.models.load_model(folder / "parent.keras")
before = parent.get_weights()
found = {"replicas": context.strategy.num_replicas_in_sync}
def made(name, model):
    for variable in model.weights:
        one, two = context.strategy.experimental_local_results(variable)
        np.testing.assert_array_equal(one, two)
    for old, now in zip(before, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    model.save(folder / f"{name}.keras")
pruned = prune(parent, PruneConfig(sparsity=0.6, steps=60), context).model
made("pruned", pruned)
made("clustered", cluster(pruned, ClusterConfig(steps=60), context).model)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_replicas_hold_the_same_sparse_and_clustered_weights(
    parent: Any, context: Context, auc: Any, tmp_path: Path
) -> None:
    import numpy as np
    import tf_keras

    from trainer.compression.kernels import kernels

    given = dataclasses.replace(context, strategy=None)  # type: ignore[arg-type]
    (tmp_path / "context.pickle").write_bytes(pickle.dumps(given))
    parent.save(tmp_path / "parent.keras")
    assert json.loads(last_line(RUN, tmp_path)) == {"replicas": 2}
    models = {
        name: tf_keras.models.load_model(tmp_path / f"{name}.keras", compile=False)
        for name in ("pruned", "clustered")
    }
    hidden = {name: kernels(model)["hidden_1/kernel"] for name, model in models.items()}
    assert float((hidden["pruned"] == 0).mean()) == pytest.approx(0.6, abs=0.001)
    assert np.unique(hidden["clustered"]).size <= 16
    assert ((hidden["clustered"] == 0) == (hidden["pruned"] == 0)).all()
    for name, model in models.items():
        assert auc(model) > auc(parent) - 0.03, name
