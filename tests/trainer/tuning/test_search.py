"""Searches by real trials: real oracles, real models on real transformed rows."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tfx_pipeline.errors import ConfigError
from trainer.progress import Event, Stage, describe, listen
from trainer.tuning.journal import PLOT_FILE, TABLE_FILE, Trials, read_trials

pytestmark = pytest.mark.slow  # Data through TFT and training: seconds each.

ROOT = Path(__file__).parents[3]
MODEL = {"hidden_units": [4]}
TRAIN = {"steps": 40, "batch_size": 64, "learning_rate": 1e-5}
RATE = "train.learning_rate"


def given(binary: Any, folder: Path, tune: dict[str, Any]) -> dict[str, Any]:
    """What `make_tuner` takes."""
    custom = {
        "transform": binary.config.model_dump(mode="json"),
        "model": MODEL,
        "train": TRAIN,
        "tune": {"objective": "auc", **tune},
    }
    return {
        "custom_config": custom,
        "transform_graph": binary.graph,
        "train_files": binary.files("train"),
        "val_files": binary.files("val"),
        "folder": str(folder),
    }


def search(binary: Any, folder: Path, **tune: Any) -> Trials:
    from trainer.tuning.run import make_tuner

    make_tuner(**given(binary, folder, tune)).search()
    return read_trials(folder)


def by_rate(found: Trials) -> dict[float, Any]:
    return {trial.values[RATE]: trial for trial in found.trials}


def test_memory_stays_flat_over_fifty_trials(binary: Any, tmp_path: Path) -> None:
    megabytes: list[float] = []

    def look(event: Event) -> None:
        if isinstance(event, Stage):
            megabytes.append(psutil.Process().memory_info().rss / 2**20)

    with listen(look):
        found = search(
            binary,
            tmp_path,
            search="random",
            trials=50,
            steps=6,
            rounds=2,
            prune=False,
            space={RATE: {"log": ["1e-6", "1e-1"]}},
        )
    assert len(found.trials) == 50
    assert found.own is not None
    assert found.own.id == "00"
    # A small rate learns nothing in six steps: the best is a large one.
    assert found.best is not None
    assert found.best.values[RATE] > 3e-3
    early, late = (statistics.median(part) for part in (megabytes[20:40], megabytes[-20:]))
    assert late - early < 8  # MB; a model that is not let go is more than that in 30 trials.


def test_a_grid_with_a_bad_and_a_failing_trial(binary: Any, tmp_path: Path) -> None:
    rates = [0.03, 0.04, 0.02, 0.05, 1e-7, 1e30]
    heard: list[Event] = []
    with listen(heard.append):
        found = search(
            binary,
            tmp_path,
            search="grid",
            steps=30,
            rounds=3,
            space={RATE: {"choice": rates}},
            budgets={"parameters": 100_000, "latency_us": 1e9},
        )
    trials = by_rate(found)
    assert set(trials) == set(rates)
    assert trials[1e-7].state == "pruned"
    assert (trials[1e-7].steps, len(trials[1e-7].history)) == (20, 2)
    assert trials[1e30].state == "failed"
    assert trials[1e30].reason
    good = [trials[rate] for rate in rates[:4]]
    assert {(t.state, t.steps, len(t.history)) for t in good} == {("complete", 30, 3)}
    assert min(t.measured["auc"] for t in good) > 0.7
    # size, speed in four buckets, my shop, review; four hidden units; one output.
    assert len({t.measured["parameters"] for t in good}) == 1
    assert all(t.measured["latency_us"] > 0 for t in good)
    assert found.own is None  # 1e-5 is not in the grid.

    table = list(csv.DictReader((tmp_path / TABLE_FILE).open()))
    assert [row["state"] for row in table] == ["complete"] * 4 + ["pruned", "failed"]
    assert (tmp_path / PLOT_FILE).read_bytes().startswith(b"\x89PNG")
    stages = [event for event in heard if isinstance(event, Stage)]
    assert (stages[-1].step, stages[-1].total_steps) == (6, 6)
    assert describe(stages[-1]).startswith("best auc 0.")
    assert any("trial 1 at step 10" in stage.what for stage in stages)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"journal.json", "trials.json", TABLE_FILE, PLOT_FILE}


def test_rounds_are_judged_on_the_averaged_weights(binary: Any, tmp_path: Path) -> None:
    found = search(
        binary,
        tmp_path,
        search="grid",
        objective="log_loss",
        steps=20,
        rounds=2,
        space={RATE: {"choice": [0.05]}, "train.ema": {"choice": [None, 0.99]}},
    )
    trials = {trial.values["train.ema"]: trial for trial in found.trials}
    # At the end of the training the averages are the model's weights.
    for trial in trials.values():
        assert trial.history[-1] == pytest.approx(trial.measured["log_loss"], rel=1e-5)
    assert trials[None].history[-1] != pytest.approx(trials[0.99].history[-1], rel=1e-3)


def test_hyperband_goes_on_from_checkpoints(binary: Any, tmp_path: Path) -> None:
    found = search(
        binary,
        tmp_path,
        search="hyperband",
        steps=30,
        rounds=3,
        space={RATE: {"choice": [1e-5, 0.05, 0.03, 1e-6, 1e-7]}},
    )
    # Brackets of three trials of one round, of which one goes on; and of two whole ones.
    assert len(found.trials) == found.planned
    [gone_on] = [t for t in found.trials if len(t.history) == 3 and t.id == "3"]
    [begun] = [t for t in found.trials if t.values == gone_on.values and t.steps == 10]
    assert gone_on.history[0] == begun.history[0]
    assert gone_on.steps == 30
    assert gone_on.seconds < 60
    assert found.best is not None
    assert found.best.values[RATE] in (0.05, 0.03)


KILLED = """
import json, os, signal, sys
from trainer.progress import listen
from trainer.tuning.run import make_tuner
def die(event):
    if event.step == 1 and "trial 1 at step 20" in event.what:
        os.kill(os.getpid(), signal.SIGKILL)
with listen(die):
    make_tuner(**json.load(open(sys.argv[1]))).search()
"""


def test_a_search_killed_in_a_trial_goes_on_within_it(binary: Any, tmp_path: Path) -> None:
    tune = {
        "search": "random", "trials": 3, "steps": 30, "rounds": 3, "prune": False,
        "space": {RATE: {"log": [1e-3, 1e-1]}},
    }  # fmt: skip
    path = tmp_path / "given.json"
    path.write_text(json.dumps(given(binary, tmp_path / "killed", tune)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    [first] = read_trials(tmp_path / "killed").trials
    before = first.seconds

    heard: list[Event] = []
    with listen(heard.append):
        resumed = search(binary, tmp_path / "killed", **tune)
    assert next(t for t in resumed.trials if t.id == "0").seconds == before
    said = [event.what for event in heard if isinstance(event, Stage)]
    assert not any("trial 0" in what or "trial 1 at step 10" in what for what in said)
    undisturbed = search(binary, tmp_path / "undisturbed", **tune)
    for one, other in zip(resumed.trials, undisturbed.trials, strict=True):
        assert (one.id, one.values, one.measured) == (other.id, other.values, other.measured)


def test_trials_in_processes_are_those_of_one(binary: Any, tmp_path: Path, fake: Any) -> None:
    tune = {
        "search": "random", "trials": 3, "steps": 6, "rounds": 2, "prune": False,
        "space": {RATE: {"log": [1e-3, 1e-1]}},
    }  # fmt: skip
    found = search(binary, tmp_path / "processes", parallel=2, **tune)
    assert {trial.state for trial in found.trials} == {"complete"}
    alone = fake("alone", **tune)
    # There the config's own rate is in the space, and comes first.
    assert set(by_rate(alone)) - {1e-3} < set(by_rate(found))
    assert len(by_rate(found)) == 3
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_a_failed_trial(binary: Any, tmp_path: Path) -> None:
    from trainer.tuning.trial import Order, Setting
    from trainer.tuning.workers import Processes

    tune = {"space": {RATE: {"log": [1e-3, 1e-1]}}}
    about = given(binary, tmp_path, tune)
    files: Sequence[Any] = [about["train_files"], about["val_files"], about["folder"]]
    setting = Setting(about["custom_config"], about["transform_graph"], *files)
    workers = Processes(setting, lambda slot, values, steps: "", 1)
    workers.start(0, Order("0", {RATE: 0.01}, 2))
    [child] = multiprocessing.active_children()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    slot, result = workers.next_result()
    assert (slot, result.state) == (0, "failed")
    assert "signal 9" in result.reason
    workers.close()


def test_without_a_validation_split(binary: Any, tmp_path: Path) -> None:
    from trainer.tuning.run import make_tuner

    about = given(binary, tmp_path, {"space": {RATE: {"log": [1e-3, 1e-1]}}})
    about["val_files"] = binary.files("train")
    with pytest.raises(ConfigError, match="judged on the validation split, and there is none"):
        make_tuner(**about).search()


def test_the_trainer_takes_the_best(
    binary: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from trainer.config import ModelConfig, TrainConfig
    from trainer.run import run_fn

    values = {"model.hidden_units": "json:[3]", RATE: 0.02, "tuner/epochs": 3}
    fn_args = binary.fn_args(
        tmp_path,
        ModelConfig(hidden_units=[4]),
        TrainConfig(steps=2, steps_per_epoch=2, batch_size=64),
        hyperparameters={"space": [], "values": values},
    )
    with caplog.at_level("INFO", "trainer.loading"):
        run_fn(fn_args)
    import tf_keras

    model = tf_keras.models.load_model(f"{fn_args.model_run_dir}/keras_model.h5")
    assert model.get_layer("hidden_0").units == 3
    assert f"tuned: model.hidden_units [3], {RATE} 0.02" in caplog.text
