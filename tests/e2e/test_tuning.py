"""The Tuner in a real pipeline: its best values reach the Trainer, and a person sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.project import Project, Result, states, uri
from trainer.tuning.journal import PLOT_FILE, read_trials

pytestmark = pytest.mark.slow


TUNED: dict[str, Any] = {
    "train.learning_rate": 1e-6,  # The search has something to find.
    "tune": {
        "search": "grid",
        "objective": "auc",
        "space": {
            "train.learning_rate": {"choice": [1e-6, 0.02]},
            "model.hidden_units": {"choice": [[16], [8, 8]]},
        },
        "trials": 3,
        "rounds": 2,
    },
}


@pytest.fixture(scope="module")
def tuned(first: tuple[Project, Result]) -> Iterator[tuple[Project, Result]]:
    """The project with a search in it: what comes before the Tuner is cached."""
    project, _ = first
    with project.changed(TUNED):
        result = project.assay("run", "--to", "Trainer")
        assert states(project.latest)["Transform"] == "cached", result.terminal
        yield project, result


def test_the_best_values_reach_the_trainer(tuned: tuple[Project, Result]) -> None:
    import tf_keras

    project, result = tuned
    assert result.code == 0, result.terminal
    record = project.latest
    found = read_trials(uri(record, "Tuner", "tuner_results"))
    assert found.best is not None
    assert found.best.values["train.learning_rate"] == 0.02
    # As TFX writes them, for anything that reads TFX's artifacts.
    [file] = uri(record, "Tuner", "best_hyperparameters").iterdir()
    assert json.loads(file.read_text())["values"]["train.learning_rate"] == 0.02
    table = json.loads((uri(record, "Tuner", "tuner_results") / "tuner_results.json").read_text())
    assert next(row["trial_id"] for row in table) == found.best.id
    model = tf_keras.models.load_model(uri(record, "Trainer", "model_run") / "keras_model.h5")
    hidden = [layer.units for layer in model.layers if layer.name.startswith("hidden_")]
    assert hidden == found.best.values["model.hidden_units"]
    assert record.tuned == found.best.values


def test_a_person_sees_them(tuned: tuple[Project, Result]) -> None:
    project, result = tuned
    own = read_trials(uri(project.latest, "Tuner", "tuner_results")).own
    assert own is not None
    [line] = [line for line in result.lines if "✓ Tuner" in line]
    assert "3 trials, best auc 0." in line
    assert f"the config's own values {own.measured['auc']:.4f}" in line
    told = project.assay("trials", "-c")
    assert told.code == 0, told.terminal
    assert "train.learning_rate" in told.terminal
    assert "the config's own" in told.terminal
    assert PLOT_FILE in told.terminal
    assert "train.learning_rate 0.02" in project.assay("show", "-c").terminal


def test_it_is_cached_and_begun_from(tuned: tuple[Project, Result]) -> None:
    project, _ = tuned
    again = project.run("--to", "Trainer")
    assert states(again)["Tuner"] == states(again)["Trainer"] == "cached"
    assert again.tuned == project.latest.tuned
    # What only the Tuner reads leaves the nodes before it as they are.
    project.change("tune.trials", 2)
    other = states(project.run("--to", "Tuner"))
    assert (other["Transform"], other["Tuner"]) == ("cached", "complete")
    begun = states(project.run("--from", "Tuner", "--to", "Tuner"))
    assert begun["Transform"] == "reused"
    assert begun["Tuner"] in ("complete", "cached")


def test_other_runners_are_given_it(tuned: tuple[Project, Result], tmp_path: Path) -> None:
    project, _ = tuned
    assert project.assay("compile", "-o", str(tmp_path)).code == 0
    [ir] = tmp_path.glob("*.ir.json")
    text = ir.read_text()
    assert "trainer.tuning.run.tuner_fn" in text
    assert "tfx_pipeline.components.tuner.executor.Executor" in text
