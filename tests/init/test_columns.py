"""What `assay init` takes each column for, and which it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.init.tables import (
    Init,
    call,
    kinds,
    random_table,
    split_sizes,
    table,
)
from tfx_pipeline.config import load_config


def test_kinds_of_columns(run_init: Init) -> None:
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    random = np.random.default_rng(0)
    config = run_init(
        random_table(
            id=lambda i: i + 1,
            constant=lambda i: "same",
            empty=lambda i: "",
            code=lambda i: f"c{i}x",
            day=lambda i: f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}",
            at=lambda i: f"2024-01-{1 + i % 28:02d}T{i % 24:02d}:30:00",
            created_time=lambda i: 1_600_000_000 + 7919 * i,
            text=lambda i: " ".join(random.choice(words, 9)),
            color=lambda i: random.choice(["red", "green", "blue"]),
            flag=lambda i: random.integers(2),
            count=lambda i: random.integers(1000),
            skewed=lambda i: f"{np.exp(3 * random.normal()):.4f}",
            gaps=lambda i: random.choice(["NA", "-", "1.5", "2.5", "7"]),
        ),
        "label",
    )
    assert kinds(config) == {
        "signal": "numeric",
        "day": "date",
        "at": "date",
        "created_time": "date",
        "text": "text",
        "color": "categorical",
        "flag": "categorical",
        "count": "numeric",
        "skewed": "numeric",
        "gaps": "numeric",
    }
    columns: dict[str, Any] = dict(config.features.columns)
    assert columns["skewed"].log
    assert columns["gaps"].missing_indicator
    assert config.data.missing_values == ["-", "NA"]
    assert columns["day"].parts == ["weekday", "day", "month"]
    assert columns["at"].parts == ["hour", "weekday", "month"]
    assert all(split_sizes(config).values())
    assert len(config.gates.quality.slices) == 2


@pytest.mark.parametrize(
    ("make", "form", "parts", "comment"),
    [
        (
            lambda i: f"{1 + i % 28:02d}.{1 + i % 12:02d}.2010",
            "%d.%m.%Y",
            "day",
            "as their numbers",
        ),
        (lambda i: f"{1 + i % 28}/{1 + i % 12}/2010", "%d/%m/%Y", "day", "day first, as"),
        (lambda i: f"{1 + i % 12:02d}/{1 + i % 28:02d}/2010", "%m/%d/%Y", "day", "month first, as"),
        (lambda i: f"0{1 + i % 9}.0{1 + i % 7}.2010", "%d.%m.%Y", "day", "day first is assumed"),
        (lambda i: f"0{1 + i % 9}/0{1 + i % 7}/2010", "%m/%d/%Y", "day", "else %d/%m/%Y"),
        (
            lambda i: f"{1 + i % 28:02d}.01.2010 {i % 24:02d}:{i % 60:02d}",
            "%d.%m.%Y %H:%M",
            "hour",
            "dates such as 01.01.2010 00:00",
        ),
    ],
)
def test_dates_as_people_write_them(
    run_init: Init,
    tmp_path: Path,
    make: Callable[[int], str],
    form: str,
    parts: str,
    comment: str,
) -> None:
    config = run_init(random_table(since=make), "label")
    since: Any = config.features.columns["since"]
    assert (since.kind, since.unit, since.format) == ("date", "iso", form)
    assert parts in since.parts
    assert comment in (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    assert all(split_sizes(config).values())


def test_dates_over_many_years_tell_an_age(run_init: Init) -> None:
    config = run_init(random_table(since=lambda i: f"01.02.{1990 + i % 20}"), "label")
    since: Any = config.features.columns["since"]
    assert since.parts == ["weekday", "day", "month", "year"]


def test_versions_are_no_dates(run_init: Init) -> None:
    config = run_init(random_table(version=lambda i: f"{1 + i % 3}.{1 + i % 2}.10"), "label")
    assert kinds(config)["version"] == "categorical"


def test_left_out_columns_are_told(run_init: Init, tmp_path: Path) -> None:
    run_init(random_table(id=lambda i: i + 1, same=lambda i: 7), "label")
    text = (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    assert "#   id: it numbers the rows" in text
    assert "#   same: it is '7' in every row" in text


def test_a_column_that_gives_the_label_away_is_left_out(tmp_path: Path) -> None:
    lines = random_table().splitlines()
    leaky = [lines[0] + ",outcome"] + [
        line + (",left" if line.endswith("yes") else ",stayed") for line in lines[1:]
    ]
    data, output = tmp_path / "a.csv", tmp_path / "pipeline.yaml"
    data.write_text("\n".join(leaky), encoding="utf-8")
    result = call("--data", str(data), "--label", "label", "-o", str(output))
    assert result.exception is None, result.output
    assert "outcome gives the label away and is left out" in result.output
    assert "#   outcome: it gives the label away" in output.read_text(encoding="utf-8")
    assert "outcome" not in load_config(output).features.columns


def test_a_scaled_regression_label_is_a_leak(run_init: Init) -> None:
    random = np.random.default_rng(1)
    y = random.normal(size=300).round(4)
    x = random.normal(size=300).round(4)
    config = run_init(table({"x": x, "cents": (100 * y).round(2), "y": y}), "y")
    assert list(config.features.columns) == ["x"]
