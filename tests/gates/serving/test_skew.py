"""The skew proof of candidates with a core, and of what was written for the trainer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gates.serving.conftest import QUICK, SPLITS, World, export_pair
from tests.trainer.conftest import Transformed
from tfx_pipeline.errors import NodeFailed
from tfx_pipeline.gates.serving import footprint
from tfx_pipeline.gates.serving.replay import replay
from tfx_pipeline.gates.serving.servers import ModelServer
from tfx_pipeline.gates.serving.skew import SAVED_MODEL, SERVER, TRAINER, Reference, reference, skew

pytestmark = pytest.mark.slow
FEATURE = "size_xf"


@pytest.fixture(scope="module")
def expected(world: World) -> Reference:
    serialized = world.rows().serialized
    return reference(world.trained, serialized, rows=100, tolerance=QUICK.tolerance)


@pytest.fixture(scope="module")
def pair(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _pair(world.transformed, tmp_path_factory.mktemp("pair") / "model")


def _pair(made: Transformed, folder: Path) -> Path:
    """A model of one feature with the TFLite core that belongs to it."""
    import tf_keras

    size = tf_keras.Input((1,), name=FEATURE)
    model = tf_keras.Model({FEATURE: size}, tf_keras.layers.Dense(1, "sigmoid")(size))
    model.layers[-1].set_weights([np.full((1, 1), 2, np.float32), np.zeros(1, np.float32)])
    export_pair(model, made, folder)
    return folder


def _served(server: ModelServer, world: World, name: str, folder: Path) -> Any:
    server.load(name, folder)
    with server.client() as client:
        return replay(client, name, world.rows().serialized, 64)


def test_a_core_is_proven_by_its_own_ways(
    server: ModelServer, world: World, pair: Path, expected: Reference
) -> None:
    assert footprint.has_core(pair)
    core = pair / "assets.extra" / "core.tflite"
    assert footprint.served_bytes(pair, runs_core=True) == core.stat().st_size
    answers = _served(server, world, "pair", pair)
    assert np.ptp(answers) > 0.5
    proof = skew(pair, answers, expected, is_float=False, runs_core=True)
    assert proof.max_difference < 1e-6
    assert (proof.feature, proof.detail) == ("", "")


def test_a_front_of_other_data_is_skew(
    server: ModelServer, world: World, other: Transformed, expected: Reference, tmp_path: Path
) -> None:
    folder = _pair(other, tmp_path / "model")
    answers = _served(server, world, "other_front", folder)
    proof = skew(folder, answers, expected, is_float=False, runs_core=True)
    assert proof.max_difference > 0.05
    assert proof.feature == FEATURE
    assert TRAINER in proof.between
    assert proof.detail.startswith(f"row {proof.row}: ")


def test_a_server_that_answers_otherwise_is_skew(pair: Path, expected: Reference) -> None:
    """The server's answers to some rows are not the SavedModel's: nothing else differs."""
    model_answers = skew(pair, np.zeros(SPLITS["eval"]), expected, is_float=False, runs_core=False)
    assert model_answers.between == (SAVED_MODEL, SERVER)
    assert model_answers.feature == ""
    assert "no transformed feature differs" in model_answers.detail
    nothing = skew(pair, np.full(SPLITS["eval"], np.nan), expected, is_float=False, runs_core=False)
    assert nothing.max_difference == np.inf
    assert nothing.row is not None


def test_written_features_that_differ_refuse_every_candidate(
    world: World, other: Transformed, pair: Path, expected: Reference
) -> None:
    """Transform's graph and what it wrote no longer belong together."""
    trained = replace(world.trained, transform_graph=Path(other.graph))
    found = reference(trained, world.rows().serialized, rows=50, tolerance=QUICK.tolerance)
    assert found.difference is not None
    assert found.difference.feature == FEATURE
    assert found.split == "val"
    # Be it that nothing else differs.
    torn = replace(expected, difference=found.difference)
    agreed = skew(pair, _in_process(pair, world), torn, is_float=False, runs_core=False)
    assert agreed.max_difference > QUICK.tolerance
    assert agreed.feature == FEATURE
    assert agreed.detail.startswith(f"feature {FEATURE} is ")
    assert "as Transform wrote it" in agreed.detail


def test_a_split_without_raw_rows_proves_nothing(world: World, tmp_path: Path) -> None:
    """Of `val` there may be none; then the rows of `train` are looked up."""
    rows = world.rows().serialized[:5]
    shutil.copytree(world.raw / "Split-train", tmp_path / "Split-train")
    (tmp_path / "Split-val").mkdir()
    trained = replace(world.trained, raw=tmp_path)
    found = reference(trained, rows, rows=20, tolerance=QUICK.tolerance)
    assert (found.split, found.difference) == ("train", None)
    shutil.rmtree(tmp_path / "Split-train")
    with pytest.raises(NodeFailed, match="no raw rows of split val or train"):
        reference(trained, rows, rows=20, tolerance=QUICK.tolerance)


def _in_process(folder: Path, world: World) -> Any:
    from serving.server import saved_model
    from tfx_pipeline.gates.serving.rows import as_array

    model = saved_model.load(folder)
    examples = {"examples": as_array(world.rows().serialized)}
    answers = model.run("serving_default", examples, ["predictions"])["predictions"]
    model.close()
    return answers[:, 0].astype(np.float64)
