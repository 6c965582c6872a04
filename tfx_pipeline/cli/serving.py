"""`assay serve` and `assay predict`: serving's own commands, told by the config what to serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving import cli as commands
from serving import cli_predict
from serving.cli_connect import (
    RestOption,
    TimeoutOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsNameOption,
    TlsOption,
    tls_options,
)

if TYPE_CHECKING:
    from serving.rows import CsvFormat
    from tfx_pipeline.config import PipelineConfig

PASSES_FLAGS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For `serve`: the model server has many flags more, and checks them itself."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Config whose pushed model is meant; default: pipeline.yaml here."
    ),
]


def serve(
    context: typer.Context,
    model_base_path: Annotated[
        str | None,
        typer.Argument(help="Folder of version folders; default: where the config pushes to."),
    ] = None,
    model_name: Annotated[str, typer.Option(help="Name that requests use.")] = "",
    config: ConfigOption = None,
    port: Annotated[int, typer.Option(help="TCP port for gRPC; 0 takes a free one.")] = 8500,
    rest_api_port: Annotated[
        int,
        typer.Option(
            "--rest-api-port",
            "--rest_api_port",
            help="TCP port for REST; 0: none; -1: any free one.",
        ),
    ] = 0,
    bind_address: Annotated[
        str, typer.Option(help="IP address to listen on; 127.0.0.1 for this machine only.")
    ] = "0.0.0.0",
    file_system_poll_wait_seconds: Annotated[
        int, typer.Option(help="Seconds between two looks for new versions; 0 looks once.")
    ] = 1,
    binary: Annotated[
        bool, typer.Option("--binary", help="Run the tensorflow_model_server on the PATH.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Start even though there is nothing to serve yet.")
    ] = False,
) -> None:
    """Serve a pushed model until Ctrl-C, picking up new versions as they appear.

    Every other flag of tensorflow_model_server may follow, as --name=value: --enable_batching,
    --monitoring_config_file=...; `assay-model-server --help` lists them.
    """
    if model_base_path is None:
        pipeline = _pipeline(config)
        model_base_path = str(pipeline.push_dir)
        model_name = model_name or pipeline.model_name
    commands.serve(
        model_base_path=model_base_path,
        model_name=model_name or "default",
        port=port,
        bind_address=bind_address,
        file_system_poll_wait_seconds=file_system_poll_wait_seconds,
        binary=binary,
        more=[f"--rest_api_port={rest_api_port}", *context.args],
        wait=wait,
    )


def predict(
    rows: Annotated[str, typer.Argument(help="CSV, JSON or JSON lines file; - reads stdin.")],
    model: Annotated[str, typer.Option(help="The model's name.")] = "",
    address: Annotated[
        str, typer.Option(help="host:port for gRPC, http://host:port for REST.")
    ] = "localhost:8500",
    rest: RestOption = False,
    model_dir: Annotated[
        str, typer.Option(help="Folder the model was pushed to; tells the columns' kinds.")
    ] = "",
    config: ConfigOption = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=int|float|bytes, may be repeated.", metavar="KIND"),
    ] = None,
    signature: Annotated[str, typer.Option(help="The signature to run.")] = "serving_default",
    version: Annotated[
        int,
        typer.Option("--model-version", "--version", help="Model version; 0 asks for the latest."),
    ] = 0,
    label: Annotated[str, typer.Option(help="Version label, in place of a version.")] = "",
    batch_size: Annotated[int, typer.Option(help="Rows a request.")] = cli_predict.ROWS_A_REQUEST,
    limit: Annotated[int, typer.Option(help="Send only the first rows; 0 sends all.")] = 0,
    timeout: TimeoutOption = 10.0,
    output: Annotated[str, typer.Option(help="table, json (a line a row) or csv.")] = "table",
    tls: TlsOption = False,
    tls_ca: TlsCaOption = "",
    tls_cert: TlsCertOption = "",
    tls_key: TlsKeyOption = "",
    tls_name: TlsNameOption = "",
) -> None:
    """Send rows to a model server and print its predictions."""
    csv_format = None
    if config or not model or not (model_dir or kinds):
        pipeline = _pipeline(config) if config or Path("pipeline.yaml").exists() else None
        if pipeline is not None:
            model_dir = model_dir or str(pipeline.push_dir)
            model = model or pipeline.model_name
            csv_format = _csv_format(pipeline)
    cli_predict.predict(
        rows=rows,
        model=model or "default",
        address=address,
        rest=rest,
        tls=tls_options(tls, tls_ca, tls_cert, tls_key, tls_name),
        model_dir=model_dir,
        kinds=kinds,
        signature=signature,
        version=version,
        label=label,
        batch_size=batch_size,
        limit=limit,
        timeout=timeout,
        output=output,
        csv_format=csv_format,
    )


def _csv_format(pipeline: PipelineConfig) -> CsvFormat:
    """Rows are read as those that the model was trained on."""
    from serving.rows import CsvFormat

    data = pipeline.data
    return CsvFormat(
        delimiter=data.delimiter,
        encoding=data.encoding,
        strip_spaces=data.strip_spaces,
        missing_values=tuple(data.missing_values),
        column_names=tuple(data.column_names),
        decimal=data.decimal,
        thousands=data.thousands,
    )


def _pipeline(config: Path | None) -> PipelineConfig:
    from tfx_pipeline.config import load_config

    return load_config(config or Path("pipeline.yaml"))
