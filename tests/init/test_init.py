"""`assay init` on real data sets and on awkward ones: what it writes loads, and the data passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from tfx_pipeline.config import load_config
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import AssayError, ConfigError, DataError
from tfx_pipeline.ingest.files import SPLITS, find_files
from tfx_pipeline.ingest.rows import typed_rows
from tfx_pipeline.ingest.source import source_of
from tfx_pipeline.init.command import init

ADULT_NAMES = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,"
    "capital_gain,capital_loss,hours_per_week,native_country,income"
)

Init = Callable[..., PipelineConfig]


def call(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(init)
    return CliRunner().invoke(app, list(arguments))


def error_of(*arguments: str) -> AssayError:
    result = call(*arguments)
    assert isinstance(result.exception, AssayError), result.output
    return result.exception


@pytest.fixture
def run_init(tmp_path: Path) -> Init:
    """Runs `assay init` on a text or a file and loads what it wrote."""

    def run(data: str | Path, label: str, *arguments: str) -> PipelineConfig:
        path = data
        if isinstance(data, str):
            path = tmp_path / "rows.csv"
            path.write_text(data, encoding="utf-8")
        output = tmp_path / "pipeline.yaml"
        flags = ("--data", str(path), "--label", label, "--output", str(output), *arguments)
        result = call(*flags)
        if result.exception:
            raise result.exception
        config = load_config(output)
        assert config.data.label.column == label
        return config

    return run


def split_sizes(config: PipelineConfig) -> dict[str, int]:
    """Reads all rows as ExampleGen would: every check on the data passes."""
    source = source_of(config)
    sizes = np.zeros(3, int)
    for rows in typed_rows(find_files(source), source):
        sizes += np.bincount(rows.splits, minlength=3)
    return dict(zip(SPLITS, sizes.tolist(), strict=True))


def kinds(config: PipelineConfig) -> dict[str, str]:
    return {name: feature.kind for name, feature in config.features.columns.items()}


def table(columns: dict[str, Any]) -> str:
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    return ",".join(columns) + "\n" + "\n".join(rows) + "\n"


def random_table(rows: int = 400, **more: Any) -> str:
    """A number that tells something of the label, and the columns given as functions of a row."""
    random = np.random.default_rng(3)
    signal = random.normal(size=rows)
    label = np.where(signal + random.normal(size=rows) > 0.7, "yes", "no")
    columns = {name: [make(i) for i in range(rows)] for name, make in more.items()}
    return table({"signal": signal.round(4), **columns, "label": label})


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


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters(run_init: Init, delimiter: str) -> None:
    config = run_init(random_table().replace(",", delimiter), "label")
    assert config.data.delimiter == delimiter
    assert all(split_sizes(config).values())


def semicolons(text: str) -> str:
    """The table as a German spreadsheet exports it."""
    return text.replace(",", ";").replace(".", ",")


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


def test_few_rows_have_no_val_split(run_init: Init) -> None:
    config = run_init(random_table(60), "label")
    assert config.data.split.val_fraction == 0
    assert config.train.early_stopping is None
    sizes = split_sizes(config)
    assert sizes["train"] > 20
    assert sizes["eval"] > 10


def test_the_rarer_class_is_positive_unless_its_name_says_otherwise(run_init: Init) -> None:
    text = random_table()
    flipped = text.replace("yes", "B").replace("no\n", "A\n")
    assert run_init(flipped, "label").data.label.classes == ["A", "B"]
    mostly = text.replace("yes", "?x").replace("no\n", "yes\n").replace("?x", "no")
    assert run_init(mostly, "label", "--force").data.label.classes == ["no", "yes"]


@pytest.mark.parametrize(
    ("positive", "negative"),
    [("ja", "nein"), ("Oui", "Non"), ("sí", "no"), ("vero", "falso"), ("WAHR", "FALSCH")],
)
def test_yes_is_positive_in_other_languages(run_init: Init, positive: str, negative: str) -> None:
    text = random_table().replace("yes", "?x").replace("no\n", f"{positive}\n")
    config = run_init(text.replace("?x", negative), "label")  # Here yes is the more frequent.
    assert config.data.label.classes == [negative, positive]


def test_what_is_asked_is_checked_before_what_is_in_the_way(tmp_path: Path) -> None:
    output, path = tmp_path / "pipeline.yaml", tmp_path / "a.csv"
    output.write_text("mine: true\n")
    path.write_text(random_table(), encoding="utf-8")
    for data, label, says in (
        (tmp_path / "nope.csv", "label", "the file does not exist"),
        (path, "labl", "there is no column 'labl'"),
        (path, "label", "the file exists already"),
    ):
        error = error_of("--data", str(data), "--label", label, "-o", str(output))
        assert says in str(error)
    assert output.read_text() == "mine: true\n"


def test_an_unknown_label_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(random_table(), encoding="utf-8")
    error = error_of("--data", str(path), "--label", "Labell", "-o", str(tmp_path / "p.yaml"))
    assert "there is no column 'Labell'" in str(error)
    assert "Did you mean 'label'?" in error.hint


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (lambda i: "" if i == 9 else "ab"[i % 2], "is missing in 1 of 400 rows, first in row 10"),
        (lambda i: "a", "is 'a' in all 400 rows"),
        (lambda i: f"name {i}", "400 different texts, too many to be classes"),
    ],
)
def test_labels_that_no_model_can_learn(
    run_init: Init, label: Callable[[int], str], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        run_init(random_table(target=label), "target")


def test_nothing_left_to_learn_from(run_init: Init) -> None:
    with pytest.raises(DataError, match="no column is left to be a feature"):
        run_init(table({"id": range(1, 101), "y": [i % 2 for i in range(100)]}), "y")


def test_a_file_is_not_overwritten(run_init: Init) -> None:
    run_init(random_table(), "label")
    with pytest.raises(ConfigError, match="the file exists already"):
        run_init(random_table(), "label")
    run_init(random_table(), "label", "--force")


def test_a_template_is_copied(tmp_path: Path) -> None:
    output = tmp_path / "new" / "pipeline.yaml"
    result = call("--template", "taxi", "-o", str(output))
    assert result.exception is None, result.output
    assert load_config(output).data.label.column == "tips"
    assert "no such template: 'taxy'" in str(
        error_of("--template", "taxy", "-o", str(tmp_path / "x") + "/pipeline.yaml")
    )


def test_neither_data_nor_template(tmp_path: Path) -> None:
    error = error_of("-o", str(tmp_path / "p.yaml"))
    assert "name your data, or a template" in str(error)


def test_only_the_first_rows_of_large_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx_pipeline.ingest import csv_reader
    from tfx_pipeline.init.profile import profile

    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 2000)
    path = tmp_path / "a.csv"
    path.write_text(random_table(2000), encoding="utf-8")
    found = profile(path, "label", max_rows=500)
    assert found.sampled
    assert 500 <= found.rows < 1000


def test_what_is_written_is_plain_yaml_with_comments(run_init: Init, tmp_path: Path) -> None:
    run_init(random_table(), "label")
    text = (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    assert text.count("#") > 10
    assert set(yaml.safe_load(text)) == {"name", "data", "features", "model", "train", "gates"}
    assert "path: rows.csv" in text
