"""What a user is told when training cannot be what they meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.errors import AssayError, ConfigError, DataError, NodeFailed, StorageError
from trainer.config import EarlyStopping, ModelConfig, TrainConfig

pytestmark = pytest.mark.slow  # Data through TFT and training: seconds each.

MODEL = ModelConfig(hidden_units=[8])
TRAIN = TrainConfig(steps=40, steps_per_epoch=20, batch_size=64)


def refused(fn_args: Any, kind: type[AssayError], said: str) -> AssayError:
    from trainer.run import run_fn

    with pytest.raises(kind, match=said) as caught:
        run_fn(fn_args)
    assert caught.value.hint
    assert not Path(fn_args.serving_model_dir).exists()
    return caught.value


def test_batch_larger_than_the_data(binary: Any, tmp_path: Path) -> None:
    train = TRAIN.model_copy(update={"batch_size": 4096})
    refused(binary.fn_args(tmp_path, MODEL, train), ConfigError, "4096.* only 1500 rows")


def test_early_stopping_without_validation_rows(binary: Any, tmp_path: Path) -> None:
    train = TRAIN.model_copy(update={"early_stopping": EarlyStopping()})
    # The eval split is the gate's: it must not stand in for the missing validation split.
    fn_args = binary.fn_args(tmp_path, MODEL, train, eval_files=binary.files("eval"))
    assert refused(fn_args, ConfigError, "needs a validation split").where == "train.early_stopping"


def test_no_files(binary: Any, tmp_path: Path) -> None:
    fn_args = binary.fn_args(tmp_path, MODEL, TRAIN, train_files=[str(tmp_path / "none" / "*")])
    refused(fn_args, DataError, "no training files")


def test_custom_config_without_transform(binary: Any, tmp_path: Path) -> None:
    fn_args = binary.fn_args(tmp_path, MODEL, TRAIN, custom_config={"train": {}})
    refused(fn_args, ConfigError, "no `transform`")


def test_a_diverging_loss_names_the_step_and_the_rate(regression: Any, tmp_path: Path) -> None:
    train = TRAIN.model_copy(update={"learning_rate": 1e30})
    error = refused(regression.fn_args(tmp_path, MODEL, train), NodeFailed, r"by step \d+ of 40")
    assert "1e+30" in error.hint


def test_nan_in_a_feature_is_named(binary: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    damaged = tmp_path / "Split-train"
    damaged.mkdir()
    [source] = tf.io.gfile.glob(binary.files("train"))
    file = str(damaged / "rows.gz")
    with tf.io.TFRecordWriter(file, options="GZIP") as writer:
        for i, record in enumerate(tf.data.TFRecordDataset(source, "GZIP").as_numpy_iterator()):
            example = tf.train.Example.FromString(record)
            if i < 3:
                example.features.feature["size_xf"].float_list.value[0] = np.nan
            writer.write(example.SerializeToString())
    fn_args = binary.fn_args(tmp_path, MODEL, TRAIN, train_files=[file])
    error = refused(fn_args, NodeFailed, r"became NaN or infinite by step 20 of 40")
    assert "size_xf in 3 of 1500 rows" in error.hint


def test_a_file_where_the_checkpoints_belong(binary: Any, tmp_path: Path) -> None:
    train = TRAIN.model_copy(update={"tensorboard": False})
    fn_args = binary.fn_args(tmp_path, MODEL, train)
    blocked = Path(fn_args.model_run_dir)
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("a file, where the folder should be")
    refused(fn_args, StorageError, "cannot be written|denied|read-only")
