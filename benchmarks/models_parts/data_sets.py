"""The data sets that benchmarks/models.py trains on, as projects: rows and a `pipeline.yaml`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_ADULT_COLUMNS = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status"),
    *("occupation", "relationship", "race", "sex", "capital_gain", "capital_loss"),
    *("hours_per_week", "native_country", "income"),
]


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        title: For the table.
        metric: What families are compared by, as `gates.measures` names it.
        write: Writes its rows into a folder, from the file it reads (None: it needs none), and
            gives `data` and `features` of the config.
        models: The `model` section of each run, by its name in the table.
        train: The `train` section; `train_of` has what one run has otherwise.
        asked: The least (of an error: the most) that the issue asks of the best run; None: nothing.
        needs: The option that names the file to read.
    """

    title: str
    metric: str
    write: Callable[[Path, Path | None], dict[str, Any]]
    models: dict[str, dict[str, Any]]
    train: dict[str, Any]
    train_of: dict[str, dict[str, Any]]
    asked: float | None = None
    needs: str | None = None


def _adult(folder: Path, source: Path | None) -> dict[str, Any]:
    assert source is not None
    rows = pd.read_csv(source, header=None, names=_ADULT_COLUMNS, skipinitialspace=True)
    rows.to_csv(folder / "rows.csv", index=False)
    columns: dict[str, Any] = {name: {"kind": "categorical"} for name in _ADULT_COLUMNS[:-1]}
    # capital_gain and capital_loss stay categories: 119 and 92 values, most of them 0, and it is
    # the very value that tells (a form's line), not its size.
    numbers = ("age", "fnlwgt", "education_num", "hours_per_week")
    columns |= {name: {"kind": "numeric"} for name in numbers}
    label = {"column": "income", "task": "binary", "classes": ["<=50K", ">50K"]}
    data = {"path": "rows.csv", "missing_values": ["?"], "label": label}
    return {"data": data, "features": {"columns": columns}}


def _breast_cancer(folder: Path, source: Path | None) -> dict[str, Any]:
    from sklearn.datasets import load_breast_cancer

    label = {"column": "target", "task": "binary", "classes": ["malignant", "benign"]}
    bunch = load_breast_cancer(as_frame=True)
    return _numbers(folder, bunch.data, bunch.target_names[bunch.target], label)


def _diabetes(folder: Path, source: Path | None) -> dict[str, Any]:
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(as_frame=True)
    return _numbers(folder, bunch.data, bunch.target, {"column": "target", "task": "regression"})


def _numbers(folder: Path, table: Any, target: Any, label: dict[str, Any]) -> dict[str, Any]:
    rows = table.rename(columns=lambda name: str(name).replace(" ", "_"))
    columns = {name: {"kind": "numeric"} for name in rows.columns}
    rows.assign(target=target).to_csv(folder / "rows.csv", index=False)
    data = {"path": "rows.csv", "label": label, "split": {"eval_fraction": 0.33}}
    return {"data": data, "features": {"columns": columns}}


def _digits(folder: Path, source: Path | None) -> dict[str, Any]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return _images(folder, bunch.images / 16.0, bunch.target)


def _mnist(folder: Path, source: Path | None) -> dict[str, Any]:
    import tensorflow as tf

    images, digits = [], []
    for record in tf.data.TFRecordDataset(str(source)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        values = np.array(feature["image_floats"].float_list.value, np.float32)
        images.append((values - values.min()) / (values.max() - values.min()))
        digits.append(feature["image_class"].int64_list.value[0])
    return _images(folder, np.reshape(images, (-1, 28, 28)), np.array(digits))


def _images(folder: Path, pixels: Any, digits: Any) -> dict[str, Any]:
    """PNG files in a Parquet column, a fifth of them for eval."""
    import tensorflow as tf

    grey = np.round(255 * pixels).astype(np.uint8)[..., np.newaxis]
    encoded = [tf.io.encode_png(image).numpy() for image in grey]
    rows = pd.DataFrame({"image": encoded, "digit": [str(digit) for digit in digits]})
    rows.to_parquet(folder / "rows.parquet", index=False)
    classes = [str(digit) for digit in range(10)]
    label = {"column": "digit", "task": "multiclass", "classes": classes}
    split = {"eval_fraction": 0.2, "val_fraction": 0}
    size = pixels.shape[1]
    image = {"kind": "image", "height_px": size, "width_px": size, "channels": 1}
    return {
        "data": {"path": "rows.parquet", "label": label, "split": split},
        "features": {"columns": {"image": image}},
    }


_ADULT_MODELS: dict[str, dict[str, Any]] = {
    "linear": {"family": "linear"},
    "dnn": {"family": "dnn", "hidden_units": [256, 128], "dropout": 0.3},
    "wide_deep": {"family": "wide_deep", "hidden_units": [256, 128], "dropout": 0.3},
    "dcn": {"family": "dcn", "hidden_units": [128, 64], "dropout": 0.3},
    "residual": {"family": "residual", "dropout": 0.3, "residual": {"blocks": 2}},
    "attention": {"family": "attention", "dropout": 0.1},
}
_SMALL_MODELS: dict[str, dict[str, Any]] = {
    "linear": {"family": "linear"},
    "dnn": {"family": "dnn", "hidden_units": [64, 32], "dropout": 0.2},
    "wide_deep": {"family": "wide_deep", "hidden_units": [64, 32], "dropout": 0.2},
    "dcn": {"family": "dcn", "hidden_units": [32], "dropout": 0.2, "dcn": {"cross_layers": 2}},
    "residual": {
        "family": "residual",
        "dropout": 0.2,
        "residual": {"blocks": 2, "units": 32},
    },
    "attention": {"family": "attention", "dropout": 0.1, "attention": {"token_dim": 16}},
}
_CNN: dict[str, dict[str, Any]] = {
    "dnn + cnn": {"family": "dnn", "hidden_units": [128], "dropout": 0.4},
}

DATA_SETS = {
    "adult": DataSet(
        "Adult, 32,561 rows",
        "auc",
        _adult,
        _ADULT_MODELS,
        {
            "batch_size": 256,
            "steps": 800,
            "steps_per_epoch": 80,
            "schedule": {"name": "cosine", "warmup_steps": 40},
            "early_stopping": {"patience_epochs": 3},
        },
        {"linear": {"learning_rate": 0.01}},
        asked=0.922,
        needs="adult",
    ),
    "breast_cancer": DataSet(
        "breast cancer, 569 rows",
        "auc",
        _breast_cancer,
        _SMALL_MODELS,
        {"batch_size": 32, "steps": 400, "steps_per_epoch": 100, "schedule": "cosine"},
        {"linear": {"learning_rate": 0.01}},
        asked=0.99,
    ),
    "diabetes": DataSet(
        "diabetes, 442 rows",
        "rmse",
        _diabetes,
        _SMALL_MODELS,
        {
            "batch_size": 32,
            "steps": 400,
            "steps_per_epoch": 20,
            "l2": 0.001,
            "early_stopping": {"patience_epochs": 5},
        },
        {"linear": {"learning_rate": 0.01}},
    ),
    "digits": DataSet(
        "scikit-learn's digits, 1,797 images",
        "accuracy",
        _digits,
        _CNN,
        {"batch_size": 64, "steps": 1200, "steps_per_epoch": 200, "schedule": "cosine"},
        {},
        asked=0.985,
    ),
    "mnist": DataSet(
        "MNIST, 1,000 images",
        "accuracy",
        _mnist,
        _CNN,
        {"batch_size": 64, "steps": 600, "steps_per_epoch": 100, "schedule": "cosine"},
        {},
        asked=0.93,
        needs="mnist",
    ),
}
