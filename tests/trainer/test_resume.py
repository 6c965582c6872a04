"""A run killed by SIGKILL and called again ends with the weights of an undisturbed one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.processes import killed
from trainer.config import EarlyStopping, ModelConfig, TrainConfig
from trainer.progress import Ended, Event, Progress, Resumed, describe, listen

pytestmark = pytest.mark.slow  # Data through TFT and training: seconds each.

# Dropout has random state, early stopping has memory, the last epoch is shorter: all must survive.
MODEL = ModelConfig(hidden_units=[16], dropout=0.2)
TRAIN = TrainConfig(
    steps=130,
    steps_per_epoch=30,
    batch_size=64,
    learning_rate=0.01,
    early_stopping=EarlyStopping(patience_epochs=50),
)

# All that has a memory or a chance of its own, in one run.
EVERYTHING: dict[str, Any] = {
    "optimizer": {"name": "adamw", "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup_steps": 20},
    "ema": 0.99,
    "clip": {"global_norm": 1.0},
    "mixup": 0.3,
    "augment": {"tabular": {"noise": 0.1, "swap": 0.1}, "text": {"dropout": 0.1}},
    "adversarial": {"attack": "pgd", "epsilon": 0.1, "steps": 2},
    "accumulate_steps": 2,
    "best_metric": "val_auc",
}
ALL = TrainConfig.model_validate(TRAIN.model_dump() | EVERYTHING)


def events(fn_args: Any) -> list[Event]:
    from trainer.run import run_fn

    heard: list[Event] = []
    with listen(heard.append):
        run_fn(fn_args)
    return heard


def steps(heard: list[Event]) -> list[Progress]:
    return [event for event in heard if isinstance(event, Progress)]


def run(fn_args: Any) -> list[Progress]:
    return steps(events(fn_args))


def weights(fn_args: Any) -> list[Any]:
    import tf_keras

    return tf_keras.models.load_model(f"{fn_args.model_run_dir}/keras_model.h5").get_weights()


@pytest.fixture(scope="module")
def both_killed(binary: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """`fn_args` of a plain training and of one with every memory, killed in their third epoch."""
    folder = tmp_path_factory.mktemp("killed")
    plain, every = (
        binary.fn_args(folder / name, MODEL, train)
        for name, train in (("plain", TRAIN), ("every", ALL))
    )
    killed(folder, (plain, 75), (every, 75))
    return plain, every


@pytest.fixture(scope="module")
def undisturbed(binary: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`fn_args` of a plain training that has come to its end."""
    fn_args = binary.fn_args(tmp_path_factory.mktemp("undisturbed"), MODEL, TRAIN)
    assert run(fn_args)[0].epoch == 1
    return fn_args


def test_resume_after_sigkill(both_killed: tuple[Any, Any], undisturbed: Any) -> None:
    resumed, _ = both_killed
    assert not Path(resumed.serving_model_dir).exists()
    # Another kill, in the middle of an export, would leave this behind.
    leftover = Path(f"{resumed.serving_model_dir}.unfinished")
    leftover.mkdir(parents=True)
    (leftover / "saved_model.pb").write_bytes(b"half")

    first, *others, last = events(resumed)
    assert first == Resumed(60, 130, 2)
    assert isinstance(last, Ended)
    assert (last.step, last.total_steps) == (130, 130)
    heard = steps(others)
    assert heard[0].epoch == 3
    assert [p.step for p in heard if p.epoch_end] == [90, 120, 130]
    assert not leftover.exists()
    for one, other in zip(weights(undisturbed), weights(resumed), strict=True):
        assert one.tobytes() == other.tobytes()


def test_resume_with_every_memory(
    binary: Any, both_killed: tuple[Any, Any], tmp_path: Path
) -> None:
    import tensorflow as tf

    undisturbed = binary.fn_args(tmp_path / "undisturbed", MODEL, ALL)
    whole = [p for p in run(undisturbed) if p.epoch_end]

    _, resumed = both_killed
    rest = [p for p in run(resumed) if p.epoch_end]
    assert [(p.step, p.loss, p.val_loss) for p in rest] == [
        (p.step, p.loss, p.val_loss) for p in whole[2:]
    ]
    for one, other in zip(weights(undisturbed), weights(resumed), strict=True):
        assert one.tobytes() == other.tobytes()

    # Nothing random of the training is in what is served.
    graph = tf.saved_model.load(resumed.serving_model_dir).signatures["serving_default"].graph
    functions = [graph.as_graph_def(), *graph.as_graph_def().library.function]
    ops = {node.op for part in functions for node in getattr(part, "node", []) or part.node_def}
    assert "MatMul" in ops
    assert [op for op in ops if "Random" in op or "Rng" in op] == []

    # Validated, kept and exported are the averaged weights, and how they stand an attack is told.
    told = json.loads((Path(resumed.model_run_dir) / "robustness.json").read_text())
    assert told["attack"] == "pgd"
    assert told["rows"] == 200
    assert told["robust_accuracy"] <= told["accuracy"]
    examples = binary.examples("val", 200, label=False)
    served = tf.saved_model.load(resumed.serving_model_dir).signatures["serving_default"]
    p = served(examples=tf.constant(examples))["predictions"].numpy()[:, 0]
    truth = binary.raw["val"]["sold"] == "yes"
    assert ((p > 0.5) == truth).mean() == pytest.approx(told["accuracy"], abs=1e-6)
    loss = tf.keras.losses.binary_crossentropy(truth.astype("float32"), p).numpy()
    assert min(abs(loss / p.val_loss - 1) for p in whole if p.val_loss) < 1e-3


def test_a_finished_run_only_exports_again(undisturbed: Any) -> None:
    before = weights(undisturbed)
    shutil.rmtree(undisturbed.serving_model_dir)
    assert run(undisturbed) == []
    assert (Path(undisturbed.serving_model_dir) / "saved_model.pb").is_file()
    for one, other in zip(before, weights(undisturbed), strict=True):
        assert one.tobytes() == other.tobytes()


def test_early_stopping_keeps_the_best_weights(binary: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    # So large a step that the validation loss does not go down for long.
    train = TRAIN.model_copy(
        update={
            "steps": 3000,
            "learning_rate": 0.5,
            "early_stopping": EarlyStopping(patience_epochs=2),
        }
    )
    fn_args = binary.fn_args(tmp_path, MODEL, train)
    *events_before, ended = events(fn_args)
    heard = [p for p in steps(events_before) if p.epoch_end]
    losses = [p.val_loss for p in heard]
    best = losses.index(min(losses))
    assert heard[-1].step < 3000
    assert len(losses) == best + 1 + 2
    assert best < len(losses) - 1
    # What is told at the end is told of the weights that are kept.
    kept = heard[best]
    assert ended == Ended(
        heard[-1].step, 3000, kept.step, kept.loss, kept.val_loss, best=True, value=kept.val_loss
    )
    assert describe(ended) == (
        f"stopped at {heard[-1].step} of 3000 steps, best val {losses[best]:.4g} at {kept.step}"
    )

    examples = binary.examples("val", 200, label=False)
    served = tf.saved_model.load(fn_args.serving_model_dir).signatures["serving_default"]
    p = served(examples=tf.constant(examples))["predictions"].numpy()[:, 0]
    truth = binary.raw["val"]["sold"] == "yes"
    loss = tf.keras.losses.binary_crossentropy(truth.astype("float32"), p).numpy()
    assert loss == pytest.approx(losses[best], rel=1e-3)
