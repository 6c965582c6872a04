"""What a long training leaves: the weights of the best epoch, and what TensorBoard reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import ConfigError
from trainer import selection
from trainer.config import EarlyStopping, TrainConfig
from trainer.progress import Ended, Event, listen
from transform.config import LabelConfig

pytestmark = pytest.mark.slow  # Each training is traced anew: seconds.

LABEL = LabelConfig(column="y", classes=["0", "1"])
# So large a step that the metrics go up and down.
TRAIN = TrainConfig(steps=40, steps_per_epoch=5, batch_size=20, learning_rate=0.3)


def split(name: str, rows: int) -> Any:
    from trainer.input import Held, Split

    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    y = (x[:, :1] + rng.normal(size=(rows, 1)) > 0).astype(np.int64)
    return Split(name, (), [], {}, rows, Held({"x": x}, y))


def trained(where: Path, **changes: Any) -> tuple[Any, Ended, list[dict[str, Any]]]:
    """The model, what was told at the end, and every epoch's logs and weights."""
    import tf_keras

    from trainer import fit
    from trainer.models.build import LabelScale

    train = TRAIN.model_copy(update=changes)
    tf_keras.utils.set_random_seed(3)
    x = tf_keras.Input((3,), name="x")
    hidden = tf_keras.layers.Dense(8, "relu", name="hidden")(x)
    model = tf_keras.Model({"x": x}, tf_keras.layers.Dense(1, "sigmoid", name="head")(hidden))
    fit.compile_model(model, train, LABEL, LabelScale(), metrics=selection.metrics(train, LABEL))
    epochs: list[dict[str, Any]] = []
    note = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: epochs.append({**logs, "weights": model.get_weights()})
    )
    heard: list[Event] = []
    with listen(heard.append):
        fit.fit(model, train, split("train", 101), split("val", 61), str(where), {}, [note])
    ended = heard[-1]
    assert isinstance(ended, Ended)
    return model, ended, epochs


def is_same(model: Any, weights: list[Any]) -> bool:
    return all((one == two).all() for one, two in zip(model.get_weights(), weights, strict=True))


@pytest.mark.parametrize("metric", ["val_auc", "val_loss"])
def test_the_best_epoch_by_a_metric_is_kept(tmp_path: Path, metric: Any) -> None:
    model, ended, epochs = trained(tmp_path, keep="best", best_metric=metric)
    values = [epoch[metric] for epoch in epochs]
    best = values.index(min(values) if metric == "val_loss" else max(values))
    assert best < len(values) - 1  # Else the last would do.
    assert is_same(model, epochs[best]["weights"])
    assert (ended.step, ended.kept_step, ended.best) == (40, 5 * (best + 1), True)
    assert (ended.metric, ended.value) == (metric, pytest.approx(values[best]))
    assert ended.val_loss == pytest.approx(epochs[best]["val_loss"])


def test_the_last_epoch_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    stopping = EarlyStopping(patience_epochs=1)
    model, ended, epochs = trained(tmp_path, keep="last", early_stopping=stopping)
    assert len(epochs) < 8
    assert is_same(model, epochs[-1]["weights"])
    assert (ended.kept_step, ended.best) == (5 * len(epochs), False)
    assert not list((tmp_path / "checkpoints").glob("best-*"))


def test_a_metric_that_the_label_does_not_have() -> None:
    train = TrainConfig(keep="best", best_metric="val_auc")
    for label, others in (
        (LabelConfig(column="y", task="regression"), "Choose val_loss."),
        (LabelConfig(column="y", task="multiclass", classes=["a", "b", "c"]), "or val_accuracy."),
    ):
        with pytest.raises(ConfigError, match=f"not one of a {label.task} label") as caught:
            selection.metrics(train, label)
        assert caught.value.hint.endswith(others)


def tags(folder: Path) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return dict(events.Tags())


def test_tensorboard_gets_histograms_and_the_graph_where_asked(tmp_path: Path) -> None:
    trained(tmp_path / "true", steps=10)
    scalars = ["epoch_loss", "epoch_val_loss"]
    found = tags(tmp_path / "true")
    assert sorted(found["tensors"]) == scalars
    assert not found["graph"]
    trained(tmp_path / "full", steps=10, tensorboard="full")
    found = tags(tmp_path / "full")
    weights = ["head/bias", "head/kernel", "hidden/bias", "hidden/kernel"]
    assert sorted(found["tensors"]) == scalars + weights
    assert found["graph"]
    trained(tmp_path / "none", steps=10, tensorboard=False)
    assert not list((tmp_path / "none").glob("events*"))


def test_a_profile_shows_the_steps_it_was_asked_for(tmp_path: Path) -> None:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    trained(tmp_path, profile_steps=2)
    [file] = (tmp_path / "plugins" / "profile").glob("*/*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(file.read_bytes())
    names = {
        plane.event_metadata[event.metadata_id].name
        for plane in space.planes
        for line in plane.lines
        for event in line.events
    }
    assert any("MatMul" in name for name in names), sorted(names)[:100]


def test_too_few_steps_to_profile_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(tmp_path, steps=2, profile_steps=20)
    assert "no profile was made" in caplog.text
    assert not (tmp_path / "plugins").exists()
