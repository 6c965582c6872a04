"""`assay init` on real data sets: what it writes loads, and the data passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.init.tables import (
    Init,
    error_of,
    kinds,
    split_sizes,
)

ADULT_NAMES = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,"
    "capital_gain,capital_loss,hours_per_week,native_country,income"
)


def test_adult_without_header_asks_for_names(shared_data: Path) -> None:
    error = error_of("--data", str(shared_data / "adult.csv"), "--label", "income", "-o", "/nix/p")
    assert "looks like data, not like column names" in str(error)
    assert "--column-names" in error.hint


def test_adult(shared_data: Path, tmp_path: Path, run_init: Init) -> None:
    text = (shared_data / "adult.csv").read_text(encoding="utf-8")
    (tmp_path / "adult.csv").write_text(
        ADULT_NAMES.replace(",", ", ") + "\n" + text, encoding="utf-8"
    )
    config = run_init(tmp_path / "adult.csv", "income")
    assert config.name == "adult"
    assert config.data.strip_spaces
    assert config.data.missing_values == ["?"]
    assert (config.data.label.task, config.data.label.classes) == ("binary", ["<=50K", ">50K"])
    numeric = {"age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"}
    assert {name for name, kind in kinds(config).items() if kind == "numeric"} == numeric
    assert len(kinds(config)) == 14
    thresholds = {t.metric: t.min for t in config.gates.quality.thresholds}
    assert thresholds == {"auc": 0.6, "accuracy": 0.74}
    sizes = split_sizes(config)
    assert sum(sizes.values()) == 32_561
    assert sizes["eval"] == pytest.approx(0.33 * 32_561, rel=0.02)


def test_adult_with_names_on_the_command_line(shared_data: Path, run_init: Init) -> None:
    config = run_init(shared_data / "adult.csv", "income", "--column-names", ADULT_NAMES)
    assert config.data.column_names == ADULT_NAMES.split(",")
    assert sum(split_sizes(config).values()) == 32_561


def test_taxi(taxi_csv: Path, run_init: Init) -> None:
    config = run_init(taxi_csv, "tips")
    assert config.data.label.task == "regression"
    found = kinds(config)
    assert found["trip_start_timestamp"] == "date"
    assert config.features.columns["trip_start_timestamp"].unit == "seconds"  # type: ignore[union-attr]
    assert found["payment_type"] == "categorical"
    assert found["pickup_community_area"] == "categorical"
    assert found["fare"] == "numeric"
    assert sum(split_sizes(config).values()) == 15_002


def test_a_regression_set_of_scikit_learn(run_init: Init) -> None:
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True).frame
    config = run_init(frame.to_csv(index=False), "target")
    assert config.data.label.task == "regression"
    assert [t.metric for t in config.gates.quality.thresholds] == ["r2"]
    assert all(split_sizes(config).values())
    assert config.train.batch_size == 16


def test_a_multiclass_set_of_scikit_learn(run_init: Init) -> None:
    from sklearn.datasets import load_wine

    frame = load_wine(as_frame=True).frame
    config = run_init(frame.to_csv(index=False), "target")
    assert config.data.label.task == "multiclass"
    assert config.data.label.classes == ["0", "1", "2"]
    sizes = split_sizes(config)
    assert sizes["train"] > 80
    assert sizes["eval"] > 40
    assert set(kinds(config).values()) == {"numeric"}


def test_a_wide_binary_set_of_scikit_learn(run_init: Init) -> None:
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    config = run_init(frame.to_csv(index=False), "target")
    assert config.data.label.classes == ["0", "1"]
    assert len(config.features.columns) == 30
    assert all(split_sizes(config).values())
