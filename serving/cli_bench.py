"""`assay bench`: how many requests a server answers, how fast, and how many fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli_connect import (
    RestOption,
    TimeoutOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsNameOption,
    TlsOption,
    connect,
    explained,
    is_rest,
    tls_options,
)

if TYPE_CHECKING:
    from serving.bench.load import Samples
    from serving.bench.senders import Sender
    from serving.client import BlockingClient, Signature, Tls
    from serving.client.operations import Arrays, Model

_MOST_CONNECTIONS = 10_000
_WARM_UP_SHARE = 0.1


def bench(
    address: Annotated[str, typer.Argument(help="host:port for gRPC, http://host:port for REST.")],
    model: Annotated[str, typer.Option(help="The model's name.")] = "default",
    rows: Annotated[str, typer.Option(help="CSV, JSON or JSON lines file to send rows of.")] = "",
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Send random inputs; the default without --rows.")
    ] = False,
    concurrency: Annotated[int, typer.Option(help="Connections, one request each.")] = 32,
    duration: Annotated[float, typer.Option(help="Seconds to measure.")] = 10.0,
    rate: Annotated[
        float,
        typer.Option(help="Requests a second that are due, answered or not (open loop); 0: none."),
    ] = 0.0,
    batch_size: Annotated[int, typer.Option(help="Rows a request.")] = 1,
    signature: Annotated[str, typer.Option(help="The signature to run.")] = "serving_default",
    version: Annotated[
        int, typer.Option("--model-version", help="Model version; 0 asks for the latest.")
    ] = 0,
    label: Annotated[str, typer.Option(help="Version label, in place of a version.")] = "",
    model_dir: Annotated[
        str, typer.Option(help="Folder the model was pushed to; tells the columns' kinds.")
    ] = "",
    kinds: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=int|float|bytes, may be repeated.", metavar="KIND"),
    ] = None,
    rest: RestOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False,
    timeout: TimeoutOption = 10.0,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = "",
    tls_cert: TlsCertOption = "",
    tls_key: TlsKeyOption = "",
    tls_name: TlsNameOption = "",
) -> None:
    """Measure a server: requests/s, latency percentiles, errors, a histogram."""
    import asyncio

    from serving.bench.report import as_dict, show, summarize
    from serving.client.operations import Model

    _check(rows, synthetic, concurrency, duration, rate, batch_size)
    secure = tls_options(tls, tls_ca, tls_cert, tls_key, tls_name)
    asked = Model(model, version or None, label)
    with (
        explained(address, rest=rest, tls=secure is not None),
        connect(address, rest=rest, timeout_s=timeout, tls=secure) as client,
    ):
        address = client.address  # with http:// where --rest was given
        inputs = _inputs(client, asked, signature, rows, model_dir, kinds or [], batch_size)
        # One request through the client tells what is wrong before the load does.
        client.predict(
            model, inputs[0], signature_name=signature, version=asked.version, label=label
        )
    senders_of = (address, inputs, asked, signature, timeout, secure, concurrency)
    samples = asyncio.run(_run(*senders_of, duration, rate or None))
    summary = summarize(samples, address, concurrency, batch_size, rate or None)
    if as_json:
        typer.echo(json.dumps(as_dict(summary)))
    else:
        from rich.console import Console

        show(summary, samples, Console())
    if not samples.latencies_s:
        raise typer.Exit(10)


def _check(
    rows: str, synthetic: bool, concurrency: int, duration: float, rate: float, batch_size: int
) -> None:
    from tfx_pipeline.errors import ConfigError

    if rows and synthetic:
        raise ConfigError("--rows and --synthetic exclude each other", hint="Choose one.")
    if not 1 <= concurrency <= _MOST_CONNECTIONS:
        raise ConfigError(
            f"--concurrency={concurrency} is not 1 to {_MOST_CONNECTIONS}", hint="Choose 32, say."
        )
    for name, value in (("duration", duration), ("batch-size", batch_size)):
        if value <= 0:
            raise ConfigError(f"--{name}={value:g} measures nothing", hint="Choose more than 0.")
    if rate < 0:
        raise ConfigError(f"--rate={rate:g} is negative", hint="Choose 0 for the closed loop.")


def _inputs(
    client: BlockingClient,
    model: Model,
    signature_name: str,
    rows: str,
    model_dir: str,
    kinds: list[str],
    batch_size: int,
) -> list[Arrays]:
    from serving.bench import payloads
    from serving.cli_predict import known_columns, parse_kinds
    from serving.client import load_model_info
    from serving.rows import infer_kinds, read_rows

    signature: Signature = client.signature(model.name, signature_name, model.version, model.label)
    info = load_model_info(model_dir) if model_dir else None
    named = parse_kinds(kinds)
    if not rows:
        return payloads.synthetic(signature, batch_size, {**(info.kinds if info else {}), **named})
    table = read_rows(rows)
    chosen = {**(info.kinds if info else infer_kinds(table)), **named}
    sent = known_columns(table, signature, info, chosen)
    marks = info.missing_values if info else ()
    return payloads.from_rows(sent, signature, batch_size, chosen, marks)


async def _run(
    address: str,
    inputs: list[Arrays],
    model: Model,
    signature_name: str,
    timeout_s: float,
    tls: Tls | None,
    concurrency: int,
    duration_s: float,
    rate: float | None,
) -> Samples:
    from serving.bench.load import closed_loop, open_loop

    senders = _senders(address, inputs, model, signature_name, timeout_s, tls, concurrency)
    try:
        # Connecting, and whatever the server does at its first requests, is not measured.
        await closed_loop(senders, _WARM_UP_SHARE * duration_s)
        if rate is None:
            return await closed_loop(senders, duration_s)
        return await open_loop(senders, duration_s, rate)
    finally:
        for sender in senders:
            await sender.close()


def _senders(
    address: str,
    inputs: list[Arrays],
    model: Model,
    signature_name: str,
    timeout_s: float,
    tls: Tls | None,
    count: int,
) -> list[Sender]:
    from importlib.util import find_spec

    from serving.bench import payloads
    from serving.bench.senders import GrpcSender, HttpSender

    if is_rest(address, False):
        posts = payloads.rest_calls(inputs, model, signature_name)
        return [HttpSender(address, posts, timeout_s, tls) for _ in range(count)]
    calls = payloads.grpc_calls(inputs, model, signature_name)
    if find_spec("hpack") is None:  # It comes with the server; the client alone does without.
        return [GrpcSender(address, calls, timeout_s, tls) for _ in range(count)]
    from serving.bench.h2_sender import H2Sender

    return [H2Sender(address, calls, timeout_s, tls) for _ in range(count)]
