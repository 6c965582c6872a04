"""Checks that the files which the config names are there, and hold what it says."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import DataError
from tfx_pipeline.ingest.files import find_files
from tfx_pipeline.ingest.first_rows import check_first_rows
from tfx_pipeline.ingest.source import source_of
from tfx_pipeline.lint.registry import Problem, register


@register
def schema_exists(config: PipelineConfig) -> Iterator[Problem]:
    """The user's own schema is read only by the fourth node."""
    path = config.gates.data.schema_path
    if path and not config.resolve(path).is_file():
        yield Problem("gates.data.schema_path", f"no such file: {config.resolve(path)}")


@register
def data_is_there(config: PipelineConfig) -> Iterator[Problem]:
    """The data's files exist, BigQuery's credentials do."""
    if config.data.format == "bigquery":
        # Only here: it imports TFX.
        from tfx_pipeline.components.example_gen.bigquery import check_bigquery

        check_bigquery()
    else:
        find_files(source_of(config))
    yield from ()


@register
def data_fit_the_config(config: PipelineConfig) -> Iterator[Problem]:
    """Columns exist, numbers are numbers, dates dates and labels labels, in the first rows."""
    if config.data.format != "bigquery":
        source = source_of(config)
        try:
            files = find_files(source)
        except DataError:
            return  # `data_is_there` says so.
        check_first_rows(files, source)
    yield from ()
