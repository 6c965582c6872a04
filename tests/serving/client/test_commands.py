"""`assay models`, and what `assay predict` can since it speaks more than gRPC in the clear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from serving.cli_models import models
from serving.server.rest import build_app, start_rest
from tfx_pipeline.cli.serving import predict
from tfx_pipeline.errors import AssayError

app = typer.Typer()
app.command()(models)
app.command()(predict)


def _run(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=stdin)


def _error(*words: str, stdin: str | None = None) -> AssayError:
    result = _run(*words, stdin=stdin)
    assert isinstance(result.exception, AssayError), result.output
    assert len(str(result.exception).splitlines()) < 10
    return result.exception


def _answers(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, (result.output, result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_models_over_rest(endpoints: Any) -> None:
    table = _run("models", endpoints.rest).stdout
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["kinds", "1", "AVAILABLE"],
        ["taxi", "7", "AVAILABLE"],
    ]
    [found] = _answers(_run("models", endpoints.rest, "taxi", "--json"))
    version = {"version": 7, "state": "AVAILABLE", "message": ""}
    assert found == {"models": [{"name": "taxi", "versions": [version]}]}


def test_models_over_grpc(endpoints: Any) -> None:
    assert "AVAILABLE" in _run("models", endpoints.grpc, "taxi", "kinds").stdout
    error = _error("models", endpoints.grpc)
    assert error.hint.startswith(f"Name the models: `assay models {endpoints.grpc} NAME ...`")
    assert (
        "Could not find any versions of model no" in _error("models", endpoints.grpc, "no").headline
    )


def test_a_stock_server_shows_why_a_load_failed(stock: Any, stock_client: Any) -> None:
    lines = _run("models", stock_client.address, "double").stdout.splitlines()
    assert lines[1].split() == ["double", "4", "END", "no", "saved_model.pb"]
    assert lines[2].split() == ["double", "3", "AVAILABLE"]


@pytest.mark.parametrize("port", ["grpc", "rest"])
def test_predict_tensors_of_json_lines(endpoints: Any, port: str) -> None:
    words = ("predict", "-", "--address", getattr(endpoints, port), "--model", "taxi")
    lines = '{"x": [1, 2, 3], "note": "a"}\n{"x": [0, 0, 1], "note": "b"}\n'
    result = _run(
        *words, "--signature", "dense", "--model-version", "7", "--batch-size", "1",
        "--output", "json", stdin=lines,
    )  # fmt: skip
    assert [answer["y"] for answer in _answers(result)] == [12.0, 2.0]
    assert "not sent, for the model does not use them: note" in result.stderr


def test_rest_by_option_and_label(endpoints: Any) -> None:
    address = endpoints.rest.removeprefix("http://")
    words = ("predict", "-", "--address", address, "--rest", "--model", "taxi", "--output", "json")
    [answer] = _answers(_run(*words, "--label", "stable", stdin='{"fare": 1.5, "miles": 1.0}'))
    assert answer["score"] == 4.0


def test_csv_of_a_tensor_model(endpoints: Any) -> None:
    """Columns are the inputs; texts of numbers become what the signature says."""
    words = ("predict", "-", "--address", endpoints.grpc, "--model", "kinds", "--output", "json")
    answers = _answers(_run(*words, "--signature", "int64", stdin="x,y\n3,a\n4,b\n"))
    assert [answer["y"] for answer in answers] == [3, 4]
    assert "'a' is no int64" in str(_error(*words, "--signature", "int64", stdin="x\na\n"))


def test_did_you_mean(endpoints: Any, exported: dict[int, Path]) -> None:
    words = ("predict", "-", "--address", endpoints.rest, "--model", "taxi")
    error = _error(*words, "--signature", "dense", stdin='{"X": [1, 2, 3]}')
    assert "Did you mean x? The signature takes x: float [?, 3]." in error.hint
    result = _run(*words, "--model-dir", str(exported[2]), stdin="Fare,mile\n1,2\n")
    assert "Fare (did you mean fare?), mile (did you mean miles?)" in result.stderr
    assert "Did you mean taxi?" in _error(*words[:-1], "taxy", stdin='{"fare": 1.0}').hint
    assert "Did you mean dense?" in _error(*words, "--signature", "dens", stdin='{"a": 1}').hint


def test_the_wrong_port(endpoints: Any, certificates: Any) -> None:
    grpc, rest = endpoints.grpc, endpoints.rest.removeprefix("http://")
    secure = start_rest(
        build_app(endpoints.core, endpoints.handlers), 0, "127.0.0.1", threads=1,
        ssl_context=certificates.server_context(mutual=False),
    )  # fmt: skip
    tls = f"127.0.0.1:{secure.port}"
    ask = ("predict", "-", "--timeout", "2", "--address")
    try:
        for words, hint in (
            ((rest,), f"That port speaks HTTP/1.1, as REST does: --address http://{rest}."),
            ((f"http://{grpc}",), f"That port speaks HTTP/2, as gRPC does: --address {grpc}"),
            ((f"https://{rest}",), "That port speaks no TLS"),
            ((grpc, "--tls"), "That port speaks no TLS"),
            ((tls,), "That port speaks TLS: add --tls"),
            ((f"http://{tls}",), "That port speaks TLS: add --tls"),
        ):
            assert hint in _error(*ask, *words, stdin='{"fare": 1.0}').hint, words
        answered = _run(
            *ask, f"https://{tls}", "--tls-ca", str(certificates.authority), "--model", "taxi",
            "--output", "json", stdin='{"fare": 1.0}',
        )  # fmt: skip
        assert _answers(answered)[0]["score"] == 1.0
    finally:
        secure.stop(0)
