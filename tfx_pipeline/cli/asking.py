"""Starts the model server on what was pushed, asks it for held-out raw rows, and stops it."""

from __future__ import annotations

import gzip
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.client import Client
from serving.client.messages import Example
from serving.process import model_server_process
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.report.record import RunRecord
from trainer.measures.quantiles import middle
from transform.config import LabelConfig

_SHOWN_COLUMNS = 4
_NOTHING = "-"


def ask(config: PipelineConfig, record: RunRecord, console: Console, *, rows: int) -> None:
    """Prints the server's predictions for the first rows of the eval split beside the truth.

    Raises:
        ServingError: The server does not start, or does not answer.
    """
    [examples] = record.nodes["ExampleGen"].artifacts["examples"]
    serialized = list(_first(read_examples(Path(examples.uri) / "Split-eval"), rows))
    started = time.monotonic()
    log_file = config.root / record.run_id / "server.log"
    with model_server_process(
        config.model_name,
        config.push_dir,
        log_file=log_file,
        ready_timeout_s=config.serve.ready_timeout_seconds,
    ) as address:
        console.print(
            f"\n[bold]{config.model_name}[/]  served on {address} "
            f"after {time.monotonic() - started:.1f} s; asked over gRPC for {len(serialized)} "
            f"raw rows of the eval split"
        )
        with Client(address) as client:
            asked = time.monotonic()
            answer = client.predict(config.model_name, serialized)
            milliseconds = 1000 * (time.monotonic() - asked)
    label = config.data.label
    console.print(_table(config, [_row(s, label) for s in serialized], answer))
    console.print(f"  answered in {milliseconds:.1f} ms; server stopped", style="dim")


def read_examples(split: Path) -> Iterator[bytes]:
    """Serialized tf.Examples of a split's gzipped TFRecord files, in order.

    The record format is TensorFlow's: length (uint64), its CRC, payload, its CRC. The CRCs are not
    checked: gzip has its own.
    """
    for path in sorted(split.glob("*.gz")):
        with gzip.open(path) as file:
            while header := file.read(12):
                [length] = struct.unpack("<Q", header[:8])
                yield file.read(length)
                file.read(4)


def _first(items: Iterator[bytes], count: int) -> Iterator[bytes]:
    for _, item in zip(range(count), items, strict=False):
        yield item


def _row(serialized: bytes, label: LabelConfig) -> dict[str, Any]:
    """The first value of each column; of a multilabel label all of them, as a cell has them."""
    row: dict[str, Any] = {}
    for name, feature in Example.FromString(serialized).features.feature.items():
        values = getattr(feature, feature.WhichOneof("kind") or "float_list").value
        row[name] = values[0] if len(values) else None
        if name == label.column and label.task == "multilabel":
            row[name] = label.separator.join(map(_text, values))
    return row


def _table(
    config: PipelineConfig, rows: list[dict[str, Any]], answer: dict[str, np.ndarray[Any, Any]]
) -> Table:
    label = config.data.label
    # What the label is made from and what the gate slices by say most about a row.
    telling = [label.of, *(key for keys in config.gates.quality.slices for key in keys)]
    columns = config.features.columns
    said = [name for name, feature in columns.items() if feature.kind not in ("image", "series")]
    names = dict.fromkeys(name for name in (*telling, *said) if name)
    shown = [n for n in names if any(r.get(n) is not None for r in rows)][:_SHOWN_COLUMNS]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (*shown, "prediction", "truth"):
        table.add_column(escape(name), justify="right", overflow="fold")
    for index, row in enumerate(rows):
        cells = (
            *(_text(row.get(name)) for name in shown),
            _prediction(label, answer, index),
            _truth(label, row),
        )
        table.add_row(*map(escape, cells))
    return table


def _prediction(label: LabelConfig, answer: dict[str, np.ndarray[Any, Any]], index: int) -> str:
    """As a person reads it: the class and its probability, the classes, the value; of quantiles
    the middle one, and from where to where they reach."""
    values = np.atleast_1d(answer["predictions"][index])
    name = _text(np.atleast_1d(answer["class"][index])[0]) if "class" in answer else ""
    match label.task:
        case "multilabel":
            return name or _NOTHING
        case "quantile":
            place = middle(label.quantiles)
            text = f"{label.quantiles[place]:g}: {values[place]:.4g}"
            several = len(values) > 1
            return f"{text} ({values[0]:.4g} to {values[-1]:.4g})" if several else text
        case "multiclass":
            return f"{name} ({values.max():.3f})" if name else f"{values.max():.4g}"
        case _:
            return f"{name} ({values[0]:.3f})" if name else f"{values[0]:.4g}"


def _truth(label: LabelConfig, row: dict[str, Any]) -> str:
    value = row.get(label.column)
    if value is None or value == "":
        return _NOTHING
    if label.above is None:
        return _text(value)
    bound = label.above * (row.get(label.of) or 0.0) if label.of else label.above
    return "1" if value > bound else "0"


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
