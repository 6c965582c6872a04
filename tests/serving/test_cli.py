"""`assay predict` and `assay serve`, from files to printed predictions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from serving.cli_predict import _print
from serving.rows import CsvFormat, infer_kinds, plain_numbers, read_rows
from tfx_pipeline.cli import serving as commands
from tfx_pipeline.errors import AssayError, ConfigError, DataError, EnvironmentMismatch

CSV = "fare,miles,hour,company,tips\n10,1.5,3,Blue,1\n4,,,,0\n"

app = typer.Typer()
app.command()(commands.predict)
app.command(context_settings=commands.PASSES_FLAGS_ON)(commands.serve)


def _run(*words: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=stdin)


@pytest.fixture
def model_dir(server) -> str:
    return str(server.base)


def test_csv_with_the_models_kinds(tmp_path: Path, address: str, model_dir: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(CSV)
    result = _run(
        "predict", str(path), "--address", address, "--model", "taxi", "--model-dir", model_dir,
        "--output", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"tips": "1", "company": "Blue", "hour": 3, "score": 21.5},
        {"tips": "0", "company": "none", "hour": -1, "score": 7.0},
    ]
    assert "not sent, for the model does not use them: tips" in result.stderr


def test_columns_that_lack_are_sent_as_missing(address: str, model_dir: str) -> None:
    result = _run(
        "predict", "-", "--address", address, "--model", "taxi", "--model-dir", model_dir,
        "--output", "csv", stdin='{"fare": 1}\n{"fare": 2}\n',
    )  # fmt: skip
    assert result.stdout.splitlines() == ["company,hour,score", "none,-1,1.0", "none,-1,3.0"]
    assert "sent as missing, for the rows lack them: miles, hour, company" in result.stderr


def test_kinds_named_by_hand(address: str) -> None:
    words = ("predict", "-", "--address", address, "--model", "taxi")
    result = _run(*words, stdin=CSV)
    assert isinstance(result.exception, AssayError)  # fare looks like int, the model parses float
    assert "--kinds column=float" in result.exception.hint
    result = _run(*words, "--kinds", "fare=float", "--limit", "1", stdin=CSV)
    assert result.exit_code == 0, result.output
    assert re.search(r"1 +\S? *Blue +\S? *3 +\S? *21\.5", result.stdout)


def test_json_list_and_many_rows(address: str) -> None:
    rows = json.dumps([{"fare": float(number), "miles": 0.5} for number in range(2500)])
    words = ("predict", "-", "--address", address, "--model", "taxi", "--output", "json")
    result = _run(*words, stdin=rows)
    assert result.exit_code == 0, result.output
    answers = [json.loads(line)["score"] for line in result.stdout.splitlines()]
    assert answers == [2 * number + 0.5 for number in range(2500)]


def test_the_model_says_which_texts_mean_missing(address: str, model_dir: str) -> None:
    rows = json.dumps([{"fare": "?", "miles": 1.5, "hour": "?", "company": "Blue"}])
    words = ("predict", "-", "--address", address, "--model", "taxi", "--output", "json")
    result = _run(*words, "--model-dir", model_dir, stdin=rows)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"company": "Blue", "hour": -1, "score": -0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows to predict"),
        ("a,b\n", "no rows to predict"),
        ("a,b\n1,2\n1\n", "standard input, line 3: the row has 1 values, the header 2 columns"),
        ('[{"a": 1}, 3]', "row 2 is 3, not an object"),
        ('[{"a": }]', "not JSON"),
        ('{"a": 1}\n{"a" 2}\n', "standard input, line 2: not JSON"),
        (b"a\n\xff\n", "byte 2 is not UTF-8"),
    ],
)
def test_rows_that_cannot_be_read(text: str | bytes, message: str) -> None:
    result = _run("predict", "-", stdin=text)
    assert isinstance(result.exception, DataError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("absent.csv",), DataError, "No such file"),
        (("-", "--output", "xml"), ConfigError, "--output=xml is unknown"),
        (("-", "--kinds", "fare"), ConfigError, "--kinds fare is not COLUMN=KIND"),
        (("-", "--address", "127.0.0.1:1", "--timeout", "1"), AssayError, "assay serve"),
    ],
)
def test_wrong_use(words: tuple[str, ...], error: type[AssayError], message: str) -> None:
    result = _run("predict", *words, stdin=CSV)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)


FORM = CsvFormat(
    delimiter=";",
    encoding="latin-1",
    strip_spaces=True,
    missing_values=("?",),
    column_names=("city", "x"),
)


@pytest.mark.parametrize("header", ["", "city; x\n"])
def test_csv_is_read_as_the_training_data_were(tmp_path: Path, header: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(f'{header} Köln ; 1\n?; ?\n\n "a;b"; 2\n'.encode("latin-1"))
    assert read_rows(str(path), csv_format=FORM) == [
        {"city": "Köln", "x": "1"},
        {"city": "", "x": ""},
        {"city": "a;b", "x": "2"},
    ]
    with pytest.raises(DataError, match="not UTF-8"):
        read_rows(str(path))


def test_the_config_says_how_csv_is_written(tmp_path: Path, address: str, model_dir: str) -> None:
    """A space before a category would make it an unknown one, and the answer wrong."""
    (tmp_path / "rows.csv").write_text("fare, miles, hour, company\n10, 1.5, 3, Blue\n4, ?, ?, ?\n")
    (tmp_path / "pipeline.yaml").write_text(
        "name: taxi\n"
        "data: {path: rows.csv, strip_spaces: true, missing_values: ['?'], "
        "label: {column: fare, task: regression}}\n"
        "features: {columns: {miles: {kind: numeric}}}\n"
    )
    rows, config = str(tmp_path / "rows.csv"), str(tmp_path / "pipeline.yaml")
    words = ("predict", rows, "--address", address, "--model-dir", model_dir, "--output", "csv")
    result = _run(*words, "--config", config)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["company,hour,score", "Blue,3,21.5", "none,-1,7.0"]
    without = _run(*words, "--model", "taxi")
    assert "values begin with a space; name the pipeline's config" in without.stderr


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("table", "[sport, film]"),
        ("csv", '"[""sport"", ""film""]"'),
        ("json", '"top_ids": ["sport", "film"]'),
    ],
)
def test_lists_of_names_are_shown(
    output: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal's markup has brackets, too."""
    _print(
        [{"class": "sport|film", "top_ids": ["sport", "film"], "predictions": [0.9, 0.8]}], output
    )
    assert shown in capsys.readouterr().out


def test_infer_kinds() -> None:
    rows = [
        {"a": "1", "b": "1", "c": "x", "d": 1, "e": "", "f": [1]},
        {"a": "2", "b": "1.5", "c": "2", "d": 2.0, "e": None},
    ]
    assert infer_kinds(rows) == {"a": "int", "b": "float", "c": "bytes", "d": "float"}


def test_real_binary_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "1").mkdir()
    result = _run("serve", str(tmp_path), "--model-name", "taxi", "--binary")
    assert isinstance(result.exception, EnvironmentMismatch)
    assert "tensorflow_model_server is not on the PATH" in str(result.exception)


def test_serve_hands_its_flags_to_the_real_binary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exec replaces the process, so the binary (a script that prints its flags) runs in a fork."""
    import subprocess
    import sys

    script = tmp_path / "tensorflow_model_server"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    script.chmod(0o755)
    (tmp_path / "1").mkdir()
    arguments = "'taxi', 1234, file_system_poll_wait_seconds=5, binary=True, more=['--a-b=c-d']"
    code = f"from serving.cli import serve; serve({str(tmp_path)!r}, {arguments})"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [
        "--port=1234",
        "--model_name=taxi",
        f"--model_base_path={tmp_path}",
        "--file_system_poll_wait_seconds=5",
        "--a_b=c-d",
    ], done.stderr


def test_nothing_to_serve_is_told_at_once(tmp_path: Path) -> None:
    result = _run("serve", str(tmp_path / "typo"))
    assert isinstance(result.exception, ConfigError)
    assert "no such folder" in str(result.exception)
    result = _run("serve", str(tmp_path))
    assert isinstance(result.exception, ConfigError)
    assert "--wait" in str(result.exception)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "saved_model.pb").touch()
    result = _run("serve", str(tmp_path / "7"))
    assert f"Name the folder above: {tmp_path}" in str(result.exception)


def test_a_flag_of_the_server_goes_through(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    result = _run("serve", str(tmp_path), "--enable-batchin=true")
    assert result.exit_code == ConfigError.exit_code
    assert "Did you mean --enable_batching?" in result.output + result.stderr


def test_numbers_as_the_training_data_write_them() -> None:
    german = CsvFormat(delimiter=";", decimal=",", thousands=".", missing_values=("-",))
    rows = [{"x": "1.234,5", "n": "12", "t": "1,5", "e": "-", "z": ""}]
    kinds = {"x": "float", "n": "int", "t": "bytes", "e": "float", "z": "float"}
    assert plain_numbers(rows, kinds, german) == [
        {"x": "1234.5", "n": "12", "t": "1,5", "e": "-", "z": ""}
    ]
    with pytest.raises(DataError, match=r"row 1: x: '27\.37' is no number with ','"):
        plain_numbers([{"x": "27.37"}], kinds, german)
    assert plain_numbers([{"x": "27.37"}], kinds, CsvFormat()) == [{"x": "27.37"}]
