"""What `assay serve` and `assay predict` do; `tfx_pipeline.cli.serving` has their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import numpy as np

    from serving.client import ModelInfo
    from serving.rows import CsvFormat

_ROWS_A_REQUEST = 1024


def serve(
    model_base_path: str,
    model_name: str = "default",
    port: int = 8500,
    bind_address: str = "0.0.0.0",
    file_system_poll_wait_seconds: int = 1,
    binary: bool = False,
) -> None:
    """Serve a pushed model over gRPC until Ctrl-C, picking up new versions as they appear."""
    flags = [
        f"--port={port}",
        f"--model_name={model_name}",
        f"--model_base_path={_absolute(model_base_path)}",
        f"--file_system_poll_wait_seconds={file_system_poll_wait_seconds}",
    ]
    if binary:
        _exec_binary(flags)
    from serving.server.main import main

    raise typer.Exit(main([*flags, f"--bind_address={bind_address}"]))


def predict(
    rows: str,
    model: str = "default",
    address: str = "localhost:8500",
    model_dir: str = "",
    kinds: list[str] | None = None,
    signature: str = "serving_default",
    version: int = 0,
    limit: int = 0,
    timeout: float = 10.0,
    output: str = "table",
    csv_format: CsvFormat | None = None,
) -> None:
    """Send rows to a model server and print its predictions."""
    from serving.client import Client, load_model_info
    from serving.rows import CsvFormat, infer_kinds, read_rows
    from tfx_pipeline.errors import ConfigError

    if output not in ("table", "json", "csv"):
        raise ConfigError(f"--output={output} is unknown", hint="Choose table, json or csv.")
    table = read_rows(rows, limit or None, csv_format or CsvFormat())
    if csv_format is None and any(str(value)[:1] == " " for value in table[0].values()):
        typer.echo(
            "note: values begin with a space; name the pipeline's config with --config, so that "
            "they are read as in training",
            err=True,
        )
    info = load_model_info(model_dir) if model_dir else None
    chosen = {**(info.kinds if info else infer_kinds(table)), **_parse_kinds(kinds or [])}
    sent = _known_columns(table, info, chosen)
    parts = []
    with Client(address, timeout_s=timeout) as client:
        for start in range(0, len(sent), _ROWS_A_REQUEST):
            part = sent[start : start + _ROWS_A_REQUEST]
            parts.append(
                client.predict(
                    model,
                    part,
                    signature_name=signature,
                    version=version or None,
                    kinds=chosen,
                    missing_values=info.missing_values if info else (),
                )
            )
    label = info.label if info else ""
    truth = [row.get(label) for row in table] if label and label in table[0] else None
    _print(_records(parts, label, truth), output)


def _absolute(path: str) -> str:
    from pathlib import Path

    return path if "://" in path else str(Path(path).expanduser().absolute())


def _exec_binary(flags: list[str]) -> None:
    """Becomes the real TensorFlow Serving, with the same flags."""
    import os
    import shutil

    from tfx_pipeline.errors import EnvironmentMismatch

    path = shutil.which("tensorflow_model_server")
    if path is None:
        raise EnvironmentMismatch(
            "tensorflow_model_server is not on the PATH",
            hint="Install TensorFlow Serving, or leave --binary out to run our own server.",
        )
    os.execv(path, [path, *flags])


def _parse_kinds(words: list[str]) -> dict[str, str]:
    from serving.client.model_info import KINDS
    from tfx_pipeline.errors import ConfigError

    kinds = {}
    for word in words:
        column, _, kind = word.rpartition("=")
        if not column or kind not in KINDS:
            raise ConfigError(
                f"--kinds {word} is not COLUMN=KIND", hint=f"KIND is one of {', '.join(KINDS)}."
            )
        kinds[column] = kind
    return kinds


def _known_columns(
    table: list[dict[str, Any]], info: ModelInfo | None, kinds: dict[str, str]
) -> list[dict[str, Any]]:
    """The rows without the columns that the model does not parse, and a note about both sides."""
    if info is None:
        return table
    columns = list(dict.fromkeys(name for row in table for name in row))
    unknown = [name for name in columns if name not in kinds]
    absent = [name for name in kinds if name not in columns]
    if unknown:
        typer.echo(
            f"note: not sent, for the model does not use them: {', '.join(unknown)}", err=True
        )
    if absent:
        typer.echo(f"note: sent as missing, for the rows lack them: {', '.join(absent)}", err=True)
    return [{name: value for name, value in row.items() if name in kinds} for row in table]


def _records(
    parts: list[dict[str, np.ndarray[Any, Any]]], label: str, truth: list[Any] | None
) -> list[dict[str, Any]]:
    """One dict of output name to plain value for each row; the label first where it is known."""
    records: list[dict[str, Any]] = []
    for part in parts:
        count = max(len(array) if array.ndim else 1 for array in part.values())
        for index in range(count):
            record = {label: truth[len(records)]} if truth else {}
            for name, array in part.items():
                # An output without a row for each input (a model constant) is the same for all.
                value = array[index] if array.ndim and len(array) == count else array
                record[name] = _plain(value)
            records.append(record)
    return records


def _plain(value: Any) -> Any:
    import numpy as np

    value = np.asarray(value)
    if value.size == 1:
        item = value.reshape(()).item()
        return item.decode(errors="replace") if isinstance(item, bytes) else item
    return [_plain(item) for item in value]


def _print(records: list[dict[str, Any]], output: str) -> None:
    if output == "json":
        import json

        for record in records:
            typer.echo(json.dumps(record, ensure_ascii=False))
    elif output == "csv":
        import csv
        import sys

        writer = csv.DictWriter(sys.stdout, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("row", *records[0])
        for number, record in enumerate(records, start=1):
            table.add_row(str(number), *map(_cell, record.values()))
        Console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_cell, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
