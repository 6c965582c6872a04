"""Candidates through the real server: what is measured, and each kind of fault."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.gates.serving.conftest import QUICK, SPLITS, Export, World
from tfx_pipeline.gates import measures
from tfx_pipeline.gates.serving.measure import measure
from tfx_pipeline.gates.serving.measured import Measured
from tfx_pipeline.gates.serving.settings import Settings
from trainer.compression.candidate import Candidate

pytestmark = pytest.mark.slow


def _ladder(folder: Path, models: dict[str, Path]) -> list[Candidate]:
    for name, path in models.items():
        shutil.copytree(path, folder / name)
    return [Candidate(name, "float" if name == "float" else "prune") for name in models]


def _servers() -> list[int]:
    """Model servers that are children of this process."""
    return [child.pid for child in psutil.Process().children(recursive=True)]


@pytest.fixture(scope="module")
def found(
    world: World, export: Export, skewed: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Measured]:
    """One gate over good and bad candidates, and a champion that no longer loads."""
    ladder = tmp_path_factory.mktemp("ladder")
    damaged = tmp_path_factory.mktemp("damaged") / "damaged"
    shutil.copytree(world.float_model, damaged)
    (damaged / "saved_model.pb").write_bytes(b"damaged")
    candidates = _ladder(
        ladder,
        {
            "same": world.float_model,
            "float": world.float_model,
            "slow": export("slow", loops=4),
            "broken": damaged,
            "wrong": export("wrong", sign=-1.0),
            "skewed": skewed,
        },
    )
    candidates.append(Candidate("unmade", "qat", failed="no layer can be quantized"))
    before = _servers()
    seen: list[str] = []
    rows = world.rows(["my shop"])
    result = measure(
        ladder,
        candidates,
        rows,
        "binary",
        replace(QUICK, latency_budget_ms=50.0),
        world.trained,
        damaged,
        on_measured=lambda one: seen.append(one.name),
    )
    assert _servers() == before
    assert seen[0] == "float"
    assert [one.name for one in result] == [*(c.name for c in candidates), "champion"]
    return {one.name: one for one in result}


def test_everything_is_measured_of_a_good_candidate(
    found: dict[str, Measured], world: World
) -> None:
    one = found["same"]
    assert one.failed == ""
    assert isinstance(one.predictions, np.ndarray)
    rows = world.rows()
    expected = measures.measure("binary", rows.labels, np.array(one.predictions)[:, None])
    assert {name: e.value for name, e in one.quality["overall"].items()} == {
        name: value for name, value in expected.items() if name != measures.EXAMPLE_COUNT
    }
    assert expected["auc"] > 0.7
    assert len(one.quality) == 13  # twelve shops
    assert one.to_float["overall"]["auc"].value == 0
    assert one.latency is not None
    assert 0 < one.latency.p50_ms <= one.latency.p95_ms <= one.latency.p99_ms
    assert one.latency.rate is not None
    assert one.latency.rate > 0
    assert one.load_seconds is not None
    assert one.load_seconds > 0
    assert one.memory_mb is not None
    assert one.disk_bytes == sum(
        f.stat().st_size for f in world.float_model.rglob("*") if f.is_file()
    )
    assert one.gzip_bytes is not None
    assert 0 < one.gzip_bytes < one.disk_bytes
    assert not one.runs_core
    assert one.served_bytes is not None
    assert 0 < one.served_bytes < one.disk_bytes


def test_the_float_model_is_its_own_measure(found: dict[str, Measured]) -> None:
    one = found["float"]
    assert one.latency is not None
    assert one.latency.p99_ratio == one.latency.p50_ratio == one.latency.batch_ratio == 1.0
    assert one.to_float == {}


def test_three_ways_agree_where_nothing_is_skewed(found: dict[str, Measured]) -> None:
    for name in ("float", "same"):
        proof = found[name].skew
        assert proof is not None
        assert proof.max_difference < 1e-5
        assert (proof.feature, proof.detail) == ("", "")


def test_a_skewed_candidate_is_told_with_its_feature(found: dict[str, Measured]) -> None:
    proof = found["skewed"].skew
    assert proof is not None
    assert proof.max_difference > 0.1
    assert proof.feature == "size_xf"
    assert proof.row is not None
    assert "feature size_xf is" in proof.detail


def test_a_slow_candidate_is_slow_beside_its_parent(found: dict[str, Measured]) -> None:
    slow, same = found["slow"].latency, found["same"].latency
    assert slow is not None
    assert same is not None
    assert slow.p50_ratio > 3
    assert slow.p50_ratio > 2 * same.p50_ratio
    assert slow.rate is not None
    assert same.rate is not None
    assert slow.rate < same.rate


def test_a_wrong_candidate_differs_from_its_parent(found: dict[str, Measured]) -> None:
    drop = found["wrong"].to_float["overall"]["auc"]
    assert drop.value < -0.3
    assert drop.high < -0.2
    proof = found["wrong"].skew
    assert proof is not None
    assert proof.max_difference < 1e-5  # wrong, but the same everywhere


def test_what_cannot_be_measured_says_why(found: dict[str, Measured]) -> None:
    assert found["unmade"].failed == "no layer can be quantized"
    for name in ("broken", "champion"):
        assert found[name].failed.startswith("it does not load: ")
        assert "parse" in found[name].failed.lower()
        assert found[name].latency is None
    assert found["same"].to_champion == {}


def test_a_server_that_dies_or_hangs_is_one_row_each(
    world: World, export: Export, faulty_settings: Settings, tmp_path: Path
) -> None:
    """Each fault is followed by a good candidate, which a new server answers."""
    candidates = _ladder(
        tmp_path / "ladder",
        {
            "float": world.float_model,
            "crashes": export("crashes", fault="crash"),
            "stalls": export("stalls", fault="load"),
            "silent": export("silent", fault="answer"),
            "good": world.float_model,
        },
    )
    before = _servers()
    settings = replace(faulty_settings, load_timeout_s=4.0, skew_rows=20)
    rows = world.rows()
    result = measure(tmp_path / "ladder", candidates, rows, "binary", settings, world.trained)
    assert _servers() == before
    found = {one.name: one for one in result}
    assert found["float"].failed == found["good"].failed == ""
    assert found["crashes"].failed == "the model server was ended by SIGSEGV"
    assert found["stalls"].failed == "it was not loaded within 4 s"
    assert "3 s" in found["silent"].failed or "Deadline" in found["silent"].failed
    assert len(found["good"].predictions) == SPLITS["eval"]


def test_no_proof_where_the_trainers_model_is_gone(world: World, tmp_path: Path) -> None:
    candidates = _ladder(tmp_path / "ladder", {"float": world.float_model})
    trained = replace(world.trained, keras_model=tmp_path / "gone.h5")
    settings = replace(QUICK, pairs=1, resamples=10)
    [one] = measure(tmp_path / "ladder", candidates, world.rows(), "binary", settings, trained)
    assert one.failed == ""
    assert one.skew is not None
    assert math.isnan(one.skew.max_difference)
    assert "the trainer's model cannot be asked" in one.skew.detail
