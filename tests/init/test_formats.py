"""`assay init` on text as programs export it: delimiters, decimal commas, encodings; Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.init.tables import (
    Init,
    kinds,
    random_table,
    semicolons,
    split_sizes,
    table,
)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters(run_init: Init, delimiter: str) -> None:
    config = run_init(random_table().replace(",", delimiter), "label")
    assert config.data.delimiter == delimiter
    assert all(split_sizes(config).values())


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas(run_init: Init, tmp_path: Path, delimiter: str) -> None:
    text = semicolons(random_table(price=lambda i: f"{i % 97}.{i % 89:02d}", n=lambda i: i * 7919))
    config = run_init(text.replace(";", delimiter), "label")
    assert (config.data.decimal, config.data.thousands) == (",", "")
    assert kinds(config) == {"signal": "numeric", "price": "numeric", "n": "numeric"}
    assert 'decimal: ","  # numbers are' in (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    assert all(split_sizes(config).values())


def test_decimal_commas_with_grouped_thousands_and_gaps(run_init: Init) -> None:
    def price(i: int) -> str:
        text = f"{i * 31.7:,.2f}".translate(str.maketrans(",.", ".,"))
        return "n/a" if i % 50 == 3 else text

    lines = semicolons(random_table()).splitlines()
    rows = [lines[0] + ";price;area"]
    rows += [f"{line};{price(i)};{(i % 90 + 1)}.{i % 1000:03d}" for i, line in enumerate(lines[1:])]
    config = run_init("\n".join(rows), "label")
    assert (config.data.decimal, config.data.thousands) == (",", ".")
    assert kinds(config) == {"signal": "numeric", "price": "numeric", "area": "numeric"}
    assert config.data.missing_values == ["n/a"]
    assert all(split_sizes(config).values())


def test_a_decimal_comma_in_the_label(run_init: Init) -> None:
    random = np.random.default_rng(1)
    y, x = (random.normal(size=300).round(4) for _ in range(2))
    config = run_init(semicolons(table({"x": x, "y": y})), "y")
    assert config.data.label.task == "regression"
    assert all(split_sizes(config).values())


def test_commas_that_are_no_decimals(run_init: Init) -> None:
    pairs = random_table().replace(",", ";").splitlines()
    rows = [pairs[0] + ";pair"] + [f"{row};{i % 3},{i % 2}" for i, row in enumerate(pairs[1:])]
    config = run_init("\n".join(rows), "label")
    assert config.data.decimal == "."
    assert kinds(config) == {"signal": "numeric", "pair": "categorical"}


def test_other_encodings(tmp_path: Path, run_init: Init) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(random_table(place=lambda i: ["Zürich", "Genève"][i % 2]).encode("cp1252"))
    config = run_init(path, "label")
    assert config.data.encoding == "cp1252"
    assert all(split_sizes(config).values())


def test_odd_names_are_quoted(run_init: Init) -> None:
    names = ["a: b", "say 'x'", "on", "naïve # x", "12", "null", "{x}", "- y"]
    random = np.random.default_rng(2)
    config = run_init(
        random_table(**{name: (lambda i: round(random.normal(), 3)) for name in names}), "label"
    )
    assert set(config.features.columns) == {"signal", *names}
    assert all(split_sizes(config).values())


def test_parquet(tmp_path: Path, run_init: Init) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    random = np.random.default_rng(4)
    churned = random.random(300) < 0.3
    path = tmp_path / "customers.parquet"
    columns = {"x": random.normal(size=300), "tags": [["a", "b"]] * 300, "churned": churned}
    parquet.write_table(pa.table(columns), path)
    config = run_init(path, "churned")
    assert config.name == "customers"
    assert config.data.label.classes == ["false", "true"]
    assert list(config.features.columns) == ["x"]
    assert all(split_sizes(config).values())
