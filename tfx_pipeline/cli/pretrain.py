"""`assay pretrain`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfx_pipeline.cli.run import ConfigPath

if TYPE_CHECKING:
    from tfx_pipeline.config import PipelineConfig
    from transform.config import TextFeature


def pretrain(
    config: ConfigPath = Path("pipeline.yaml"),
    column: Annotated[str, typer.Option(help="The text column; needed if there are several.")] = "",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the encoder; an encoder is replaced.")
    ] = Path("encoder"),
    texts: Annotated[
        list[Path] | None,
        typer.Option(help="More texts: a file with one a line, in UTF-8. May be repeated."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps in all.")] = 2000,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(min=0, help="Adam's, at its highest.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, batches, hidden words.")] = 17,
) -> None:
    """Pretrain a Transformer on a text column: hidden words are guessed. No label is read.

    The encoder learns from the rows of the training split (and from --texts), with the sizes of
    model.text.transformer and model.text.embedding_dim. Call it again after a kill: it goes on.
    """
    from tfx_pipeline.cli import tables
    from tfx_pipeline.config import load_config
    from tfx_pipeline.runners.calm import calm_terminal

    started = time.monotonic()
    pipeline = load_config(config)
    name, feature = _text_column(pipeline, column)
    text = pipeline.model.text
    with calm_terminal(Path(os.devnull)) as terminal:
        found = _column_texts(pipeline, name) + _lines(texts or [])
        terminal.print(f"{len(found):,} texts of {name!r}; {steps:,} steps of {batch_size}")
        from trainer.models.encoders.transformer_config import TransformerConfig
        from trainer.pretrain.pretrain import pretrain as learn
        from trainer.pretrain.settings import Progress, Settings

        def report(now: Progress) -> None:
            terminal.print(f"step {now.step:,} of {now.steps:,}: loss {now.loss:.3f} nats a word")

        settings = Settings(
            shape=text.transformer or TransformerConfig(),
            width=text.embedding_dim,
            max_length=feature.max_length,
            max_tokens=feature.max_tokens,
            min_count=feature.min_count,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
        )
        result = learn(found, settings, output, report)
    console = tables.output_console()
    console.print(
        f"[green]✓[/] {result.folder}: {result.words:,} words, learned from {result.texts:,} texts "
        f"in {time.monotonic() - started:.0f} s\n  hidden words of texts it has not seen: loss "
        f"{result.loss:.3f} (by frequency alone: {result.baseline:.3f})",
        soft_wrap=True,
    )
    folder = result.folder.resolve()
    if folder.is_relative_to(pipeline.folder):
        folder = folder.relative_to(pipeline.folder)
    console.print(
        f"Next: set [bold]vocabulary: {folder / 'vocabulary.txt'}[/] of the column, and "
        f"[bold]model.text: {{encoder: pretrained, pretrained: {{path: {folder}}}}}[/]; "
        "docs/fine-tuning.md says what to tune.",
        soft_wrap=True,
    )


def _text_column(config: PipelineConfig, wanted: str) -> tuple[str, TextFeature]:
    """The column to learn from, as the features have it."""
    from tfx_pipeline.errors import ConfigError
    from transform.config import TextFeature

    columns = {
        name: feature
        for name, feature in config.features.columns.items()
        if isinstance(feature, TextFeature) and feature.output == "sequence"
    }
    if wanted in columns:
        return wanted, columns[wanted]
    if not wanted and len(columns) == 1:
        return next(iter(columns.items()))
    what = f"{wanted!r} is no text column" if wanted else f"there are {len(columns)} text columns"
    raise ConfigError(
        f"{what} with `output: sequence`",
        where=config.place("features.columns"),
        hint=f"Name one with --column: {', '.join(columns)}."
        if columns
        else "Give the column `kind: text` and `output: sequence`.",
    )


def _column_texts(config: PipelineConfig, column: str) -> list[str]:
    """The column's texts in the training split, read as `assay run` reads them."""
    from tfx_pipeline.errors import ConfigError
    from tfx_pipeline.ingest.files import find_files
    from tfx_pipeline.ingest.rows import typed_rows
    from tfx_pipeline.ingest.source import source_of
    from tfx_pipeline.ingest.splits import TRAIN

    if config.data.format == "bigquery":
        raise ConfigError(
            "`assay pretrain` reads files, and the data are in BigQuery",
            where=config.place("data.format"),
            hint="Export the column to a file, and name that in `data.path` of another config.",
        )
    source = source_of(config)
    found: list[str] = []
    for rows in typed_rows(find_files(source), source):
        cells = rows.columns.column(rows.columns.schema.get_field_index(column)).to_pylist()
        found += [
            cell[0].decode(errors="replace")
            for cell, split in zip(cells, rows.splits, strict=True)
            if split == TRAIN and cell
        ]
    return found


def _lines(files: list[Path]) -> list[str]:
    from tfx_pipeline.errors import DataError

    found: list[str] = []
    for file in files:
        try:
            found += file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"the texts cannot be read: {error}",
                where=str(file),
                hint="Give a text file in UTF-8 with one text a line.",
            ) from error
    return [line for line in found if line.strip()]
