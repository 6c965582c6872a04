"""`assay bench`: what is sent, both loops, the figures, and the command on real endpoints."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from serving.bench import payloads
from serving.bench.load import Samples, closed_loop, open_loop
from serving.bench.report import histogram, show, summarize
from serving.cli_bench import bench
from serving.client import Client, RequestFailed
from serving.client.model_types import Signature, TensorInfo
from serving.client.operations import Model
from tfx_pipeline.errors import ConfigError, DataError

app = typer.Typer()
app.command()(bench)


def _run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def _figures(*words: str) -> dict[str, Any]:
    result = _run(*words, "--json", "--concurrency", "2", "--duration", "0.2")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


class Stalling:
    """A connection to a server that hangs once, for a while, and then answers at once."""

    def __init__(self, stall_s: float, fails: bool = False) -> None:
        self._stall_s = stall_s
        self._fails = fails

    async def send(self, number: int) -> str:
        await asyncio.sleep(self._stall_s if number == 0 else 0)
        return "UNAVAILABLE" if self._fails else "OK"

    async def close(self) -> None:
        pass


def test_the_open_loop_sees_who_had_to_wait() -> None:
    """Of the 30 requests due in a stall of 0.3 s, the closed loop sees one wait; the open, all."""
    open_samples = asyncio.run(open_loop([Stalling(0.3)], 0.5, rate=100))
    assert sum(open_samples.codes.values()) + open_samples.late == 50
    assert sum(latency > 0.1 for latency in open_samples.latencies_s) >= 20
    closed_samples = asyncio.run(closed_loop([Stalling(0.3)], 0.5))
    assert closed_samples.latencies_s[0] >= 0.29
    assert sum(latency > 0.1 for latency in closed_samples.latencies_s) <= 5


def test_requests_that_were_due_and_never_sent_count() -> None:
    samples = asyncio.run(open_loop([Stalling(0.3)], 0.2, rate=100))
    assert samples.codes == {"OK": 1}
    assert samples.late == 19
    assert len(samples.latencies_s) == 20
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    show(summarize(samples, "a:1", 1, 1, 100.0), samples, console)
    assert "19 not sent: the server could not keep the rate" in console.export_text()


def test_failures_are_counted_by_code_and_have_no_latency() -> None:
    samples = asyncio.run(closed_loop([Stalling(0, fails=True)], 0.05))
    summary = summarize(samples, "a:1", 1, 1, None)
    assert summary.errors == {"UNAVAILABLE": summary.requests}
    assert summary.requests_per_second == 0
    assert summary.latency_ms == {}


def test_percentiles_and_histogram() -> None:
    samples = Samples(latencies_s=[n / 1000 for n in range(1, 1001)], elapsed_s=2.0)
    samples.codes["OK"] = 1000
    summary = summarize(samples, "a:1", 4, 8, None)
    assert summary.requests_per_second == 500
    assert summary.rows_per_second == 4000
    assert summary.latency_ms == pytest.approx(
        {"p50": 501, "p90": 901, "p99": 991, "p99.9": 1000, "max": 1000, "mean": 500.5}
    )
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(histogram(samples.latencies_s))
    lines = console.export_text().splitlines()
    assert len(lines) == 17
    assert lines[-1].split()[0] == "1e+03"
    assert lines[-1].endswith("100.00 %")
    console.print(histogram([0.001]))  # all alike


def test_made_up_inputs() -> None:
    signature = Signature(
        {
            "x": TensorInfo("float", (None, 3, None)),
            "n": TensorInfo("int32", ()),
            "word": TensorInfo("string", (None,)),
            "on": TensorInfo("bool", (2,)),
        },
        {},
    )
    inputs = payloads.synthetic(signature, 5)
    assert len(inputs) == payloads.DISTINCT
    shapes = {name: (array.shape, array.dtype.name) for name, array in inputs[0].items()}
    assert shapes == {
        "x": ((5, 3, 1), "float32"),
        "n": ((), "int32"),
        "word": ((5,), "object"),
        "on": ((2,), "bool"),
    }
    again = payloads.synthetic(signature, 5)
    np.testing.assert_array_equal(inputs[7]["x"], again[7]["x"])
    for unknown in (TensorInfo("float", None), TensorInfo("variant", ())):
        with pytest.raises(DataError, match="--rows FILE"):
            payloads.synthetic(Signature({"x": unknown, "y": unknown}, {}), 1)


def test_rows_are_cut_into_requests() -> None:
    signature = Signature({"x": TensorInfo("float", (None,))}, {})
    rows = [{"x": float(n)} for n in range(5)]
    cut = payloads.from_rows(rows, signature, 2, {}, ())
    assert [part["x"].tolist() for part in cut] == [[0, 1], [2, 3]]
    [repeated] = payloads.from_rows(rows[:2], signature, 3, {}, ())
    assert repeated["x"].tolist() == [0, 1, 0]
    assert len(payloads.grpc_calls(cut, Model("m"), "s")) == 2


@pytest.mark.parametrize("port", ["grpc", "rest"])
def test_the_command(endpoints: Any, port: str, tmp_path: Path) -> None:
    address = getattr(endpoints, port)
    common = (address, "--model", "taxi")
    figures = _figures(*common, "--signature", "dense", "--batch-size", "3")
    assert figures["loop"] == "closed"
    assert figures["requests"] > 0
    assert figures["errors"] == {}
    assert figures["rows_per_second"] == pytest.approx(3 * figures["requests_per_second"])
    assert set(figures["latency_ms"]) == {"p50", "p90", "p99", "p99.9", "max", "mean"}
    path = tmp_path / "rows.csv"
    path.write_text("fare,miles\n1.5,2\n2.5,3\n")
    figures = _figures(*common, "--rows", str(path), "--kinds", "miles=float", "--rate", "50")
    assert figures["loop"] == "open"
    assert figures["requests"] + figures["late"] == 10
    assert figures["errors"] == {}
    result = _run(*common, "--signature", "dense", "--duration", "0.1", "--concurrency", "1")
    assert result.exit_code == 0
    assert "requests/s" in result.stdout
    assert "p99.9" in result.stdout


def test_columns_from_the_pushed_model(endpoints: Any, exported: dict[int, Path]) -> None:
    words = (endpoints.grpc, "--model", "taxi")
    assert _figures(*words, "--model-dir", str(exported[2]))["errors"] == {}
    result = _run(*words)
    assert isinstance(result.exception, DataError)
    assert "--model-dir" in str(result.exception)


def test_wrong_use(endpoints: Any) -> None:
    for words in (
        ("--rows", "a.csv", "--synthetic"),
        ("--concurrency", "0"),
        ("--duration", "0"),
        ("--batch-size", "0"),
        ("--rate", "-1"),
    ):
        assert isinstance(_run("localhost:1", *words).exception, ConfigError)
    result = _run(endpoints.grpc, "--model", "absent")
    assert isinstance(result.exception, RequestFailed)
    assert result.exception.code == "NOT_FOUND"


def test_a_server_that_goes_away_is_counted(endpoints: Any) -> None:
    """The senders themselves, on a port where nobody listens any more."""
    from serving.bench.senders import GrpcSender, HttpSender

    with Client(endpoints.grpc) as client:
        signature = client.signature("taxi", "dense")
    inputs = payloads.synthetic(signature, 1)[:1]

    async def send() -> list[str]:
        model = Model("taxi")
        calls = payloads.grpc_calls(inputs, model, "dense")
        posts = payloads.rest_calls(inputs, model, "dense")
        senders = [
            GrpcSender("127.0.0.1:1", calls, 1.0, None),
            HttpSender("http://127.0.0.1:1", posts, 1.0, None),
            HttpSender(endpoints.rest, payloads.rest_calls(inputs, Model("no"), "x"), 1.0, None),
        ]
        codes = [await sender.send(0) for sender in senders]
        for sender in senders:
            await sender.close()
        return codes

    started = time.monotonic()
    assert asyncio.run(send()) == ["UNAVAILABLE", "UNAVAILABLE", "HTTP 404"]
    assert time.monotonic() - started < 60
