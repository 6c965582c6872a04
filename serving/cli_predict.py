"""What `assay predict` does; `tfx_pipeline.cli.serving` has its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import numpy as np

    from serving.client import BlockingClient, ModelInfo, Signature, Tls
    from serving.rows import CsvFormat

ROWS_A_REQUEST = 1024


def predict(
    rows: str,
    model: str = "default",
    address: str = "localhost:8500",
    *,
    rest: bool = False,
    tls: Tls | None = None,
    model_dir: str = "",
    kinds: list[str] | None = None,
    signature: str = "serving_default",
    version: int = 0,
    label: str = "",
    batch_size: int = ROWS_A_REQUEST,
    limit: int = 0,
    timeout: float = 10.0,
    output: str = "table",
    csv_format: CsvFormat | None = None,
) -> None:
    """Sends rows to a model server and prints its predictions."""
    from serving.cli_connect import connect, explained
    from serving.client import load_model_info
    from serving.rows import CsvFormat, infer_kinds, plain_numbers, read_rows
    from tfx_pipeline.errors import ConfigError

    if output not in ("table", "json", "csv"):
        raise ConfigError(f"--output={output} is unknown", hint="Choose table, json or csv.")
    if batch_size < 1:
        raise ConfigError(f"--batch-size={batch_size} sends nothing", hint="Choose 1 or more.")
    table = read_rows(rows, limit or None, csv_format or CsvFormat())
    if csv_format is None and any(str(value)[:1] == " " for value in table[0].values()):
        _note(
            "values begin with a space; name the pipeline's config with --config, so that "
            "they are read as in training"
        )
    info = load_model_info(model_dir) if model_dir else None
    chosen = {**(info.kinds if info else infer_kinds(table)), **parse_kinds(kinds or [])}
    if csv_format is not None and _is_csv(rows):
        table = plain_numbers(table, chosen, csv_format)
    with (
        explained(address, rest=rest, tls=tls is not None),
        connect(address, rest=rest, timeout_s=timeout, tls=tls) as client,
    ):
        taken = _signature(client, model, signature, version or None, label)
        answer = client.predict(
            model,
            known_columns(table, taken, info, chosen),
            signature_name=signature,
            version=version or None,
            label=label,
            kinds=chosen,
            missing_values=info.missing_values if info else (),
            batch_size=batch_size,
        )
    truth_column = info.label if info and info.label in table[0] else ""
    truth = [row.get(truth_column) for row in table] if truth_column else None
    _print(_records(answer, len(table), truth_column, truth), output)


def _is_csv(source: str) -> bool:
    """JSON has numbers of its own; what is read from standard input may be either, and marks in
    texts of columns of numbers are the CSV's."""
    return not source.endswith((".json", ".jsonl", ".ndjson"))


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


def parse_kinds(words: list[str]) -> dict[str, str]:
    """Column to kind, of words `COLUMN=KIND`.

    Raises:
        ConfigError: A word is none.
    """
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


def _signature(
    client: BlockingClient, model: str, name: str, version: int | None, label: str
) -> Signature | None:
    """The signature, or None where it cannot be had: the request itself then says why."""
    from serving.client import RequestFailed
    from tfx_pipeline.errors import DataError

    try:
        return client.signature(model, name, version, label)
    except DataError:
        return None
    except RequestFailed as error:
        if error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            raise
        return None


def known_columns(
    table: list[dict[str, Any]],
    signature: Signature | None,
    info: ModelInfo | None,
    kinds: dict[str, str],
) -> list[dict[str, Any]]:
    """The rows without the columns that the model does not take, and a note about both sides."""
    takes_tensors = signature is not None and not signature.examples_input
    if takes_tensors:
        assert signature is not None
        known = list(signature.inputs)
    elif info is not None:
        known = list(kinds)
    else:
        return table
    columns = list(dict.fromkeys(name for row in table for name in row))
    unknown = [name for name in columns if name not in known]
    absent = [name for name in known if name not in columns]
    if takes_tensors and absent:
        return table  # the client says what is missing, and what was probably meant
    if unknown:
        said = ", ".join(_with_guess(name, absent) for name in unknown)
        _note(f"not sent, for the model does not use them: {said}")
    if absent:
        _note(f"sent as missing, for the rows lack them: {', '.join(absent)}")
    return [{name: value for name, value in row.items() if name in known} for row in table]


def _with_guess(name: str, absent: list[str]) -> str:
    from serving.client.checks import did_you_mean

    near = did_you_mean(name, absent)
    return f"{name} (did you mean {near}?)" if near else name


def _records(
    answer: dict[str, np.ndarray[Any, Any]], rows: int, label: str, truth: list[Any] | None
) -> list[dict[str, Any]]:
    """One dict of output name to plain value for each row; the label first where it is known."""
    has_rows = any(array.ndim and len(array) == rows for array in answer.values())
    records: list[dict[str, Any]] = []
    for index in range(rows if has_rows else 1):
        record = {label: truth[index]} if truth else {}
        for name, array in answer.items():
            # An output without a row for each input (a model constant) is the same for all.
            value = array[index] if array.ndim and has_rows and len(array) == rows else array
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
        for record in records:
            writer.writerow({name: _csv_cell(value) for name, value in record.items()})
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        # A list of names, [news, sport], would be taken for markup, and not shown.
        table = Table("row", *map(escape, records[0]))
        for number, record in enumerate(records, start=1):
            table.add_row(str(number), *(escape(_cell(value)) for value in record.values()))
        Console().print(table)


def _csv_cell(value: Any) -> Any:
    """A list as JSON, which other programs read."""
    import json

    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_cell, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
