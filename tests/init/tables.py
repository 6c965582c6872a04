"""`assay init` on tables made up for it, and what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import typer
from typer.testing import CliRunner, Result

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import AssayError
from tfx_pipeline.ingest.files import SPLITS, find_files
from tfx_pipeline.ingest.rows import typed_rows
from tfx_pipeline.ingest.source import source_of
from tfx_pipeline.init.command import init

Init = Callable[..., PipelineConfig]
"""Runs `assay init` on a text or a file and loads what it wrote."""


def call(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(init)
    return CliRunner().invoke(app, list(arguments))


def error_of(*arguments: str) -> AssayError:
    result = call(*arguments)
    assert isinstance(result.exception, AssayError), result.output
    return result.exception


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


def semicolons(text: str) -> str:
    """The table as a German spreadsheet exports it."""
    return text.replace(",", ";").replace(".", ",")
