"""The rows that a template's data.py makes: the same for a seed, and told as synthetic."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfx_pipeline.errors import EnvironmentMismatch
from tfx_pipeline.templates import copy, synthetic

HERE = Path(copy.__file__).parent
MADE = sorted(path.parent.name for path in HERE.glob("*/data.py"))


@pytest.mark.parametrize("name", MADE)
def test_rows_follow_from_the_seed(name: str) -> None:
    module = synthetic.load(HERE / name / "data.py")
    first, again, other = (module.make(500, seed) for seed in (1, 1, 2))
    assert len(first.rows) == 500
    assert first.rows.equals(again.rows)
    assert first.truth == again.truth
    assert not first.rows.equals(other.rows)
    if first.truth is not None:
        assert "ynthetic" in module.__doc__
        assert first.truth.best > first.truth.blind_to_it


def test_the_script_runs_by_itself(tmp_path: Path, repo: Path) -> None:
    config = copy.copied("churn", tmp_path, rows=100)
    assert config.truth is not None
    before = (tmp_path / "data.csv").read_bytes()
    done = subprocess.run(
        [sys.executable, "data.py", "--rows", "50", "--seed", "3"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repo)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "wrote data.csv: synthetic; the best possible auc is 0." in done.stdout
    assert (tmp_path / "data.csv").read_text().count("\n") == 51
    assert (tmp_path / "data.csv").read_bytes() != before


def test_rows_that_are_there_stay(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("mine")
    assert copy.copied("churn", tmp_path, rows=100).truth is None
    assert (tmp_path / "data.csv").read_text() == "mine"
    assert not (tmp_path / "truth.json").exists()


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    script = tmp_path / "data.py"
    script.write_text("import no_such_package\n")
    with pytest.raises(EnvironmentMismatch, match="the package no_such_package, which"):
        synthetic.load(script)


def test_auc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    labels, scores = random.random(500) < 0.3, random.integers(0, 20, 500)
    assert synthetic.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
