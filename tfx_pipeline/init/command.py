"""`assay init`: from a data file to a pipeline.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from tfx_pipeline.init.profile import DataProfile

_SHOWN_COLUMNS = 40


def init(
    data: Annotated[
        str | None, typer.Option(help="CSV, Parquet or TFRecord file, folder or glob.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The pipeline's name; default: the data file's.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path(
        "pipeline.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    delimiter: Annotated[
        str | None, typer.Option(help="CSV: the delimiter; default: found out.")
    ] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="CSV: columns are column_1, column_2, ...")
    ] = False,
    column_names: Annotated[
        str | None, typer.Option(help="CSV without a header: the names, between commas.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Copy this template instead of reading data.")
    ] = None,
    list_templates: Annotated[
        bool, typer.Option("--list-templates", help="List the templates, and end.")
    ] = False,
) -> None:
    """Read your data and write a commented pipeline.yaml that runs as it is."""
    from tfx_pipeline.errors import ConfigError
    from tfx_pipeline.files import write_text
    from tfx_pipeline.terminal import Terminal

    console = Terminal(highlight=False)
    if list_templates:
        _list_templates(console)
        return
    if bool(template) == bool(data):
        raise ConfigError(
            "name your data, or a template",
            hint="assay init --data my.csv --label COLUMN, or assay init --template taxi; "
            "assay init --list-templates has them all",
        )
    if template:
        _require_absent(output, force)
        _copy(template, output, console)
    else:
        assert data, "without a template there is data"
        names = column_names.split(",") if column_names else None
        found = _profile(data, label, delimiter, no_header, names, output=output, force=force)
        text = _text(found, data, name, output)
        _show(found, console)
        write_text(output, text)
    console.print(f"wrote {output}. Next: [bold]assay run {output}[/]", soft_wrap=True)


def _require_absent(output: Path, force: bool) -> None:
    from tfx_pipeline.errors import ConfigError

    if output.exists() and not force:
        raise ConfigError(
            "the file exists already", where=str(output), hint="Use --force, or another --output."
        )


def _profile(
    data: str,
    label: str | None,
    delimiter: str | None,
    no_header: bool,
    names: list[str] | None,
    *,
    output: Path,
    force: bool,
) -> DataProfile:
    """Profiles the data. A mistake in what is asked comes before a file in the way, and that
    before all rows are read."""
    from tfx_pipeline.errors import ConfigError
    from tfx_pipeline.init.profile import locate, profile

    if not label:
        raise ConfigError(
            "which column is to be predicted?", hint=f"assay init --data {data} --label COLUMN"
        )
    if delimiter is not None:
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
        if len(delimiter) != 1:
            raise ConfigError(f"the delimiter {delimiter!r} is not one character")
    locate(data, label, delimiter=delimiter, no_header=no_header, column_names=names)
    _require_absent(output, force)
    return profile(data, label, delimiter=delimiter, no_header=no_header, column_names=names)


def _text(found: DataProfile, data: str, name: str | None, output: Path) -> str:
    """The file's text, checked: what `init` writes must load."""
    from tfx_pipeline.config.load import parse_config
    from tfx_pipeline.init.render import pipeline_name, render

    source = Path(data).expanduser().absolute()
    path = os.path.relpath(source, output.absolute().parent)
    stem = source.name.split(".")[0].replace("*", "") or source.parent.name
    text = render(
        found, name=name or pipeline_name(stem), path=Path(path).as_posix(), output=str(output)
    )
    parse_config(text, source=str(output))
    return text


def _show(found: DataProfile, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    rows = f"{found.rows:,} rows" + (", the first of more" if found.sampled else "")
    console.print(
        f"[bold]{rows}[/], label [bold]{escape(found.label.column)}[/]: "
        f"{found.label.task} ({escape(found.label.why)})"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("column", "kind", "distinct", "missing", "why"):
        table.add_column(title, justify="right" if title in ("distinct", "missing") else "left")
    for column in found.columns[:_SHOWN_COLUMNS]:
        style = "" if column.is_feature else "yellow"
        table.add_row(
            escape(column.name),
            column.kind,
            str(column.distinct),
            str(column.missing or "-"),
            escape(column.why),
            style=style,
        )
    console.print(table)
    if len(found.columns) > _SHOWN_COLUMNS:
        console.print(f"... and {len(found.columns) - _SHOWN_COLUMNS} more columns")
    for leak in found.leaks:
        console.print(f"[yellow]{escape(leak)} gives the label away and is left out[/]")


def _list_templates(console: Console) -> None:
    from rich.table import Table

    from tfx_pipeline.templates.copy import summaries

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, what in summaries().items():
        table.add_row(f"[bold]{name}[/]", what)
    console.print(table)


def _copy(template: str, output: Path, console: Console) -> None:
    from tfx_pipeline.errors import ConfigError, storage_errors
    from tfx_pipeline.templates import copy, synthetic

    if output.name != "pipeline.yaml":
        raise ConfigError(
            f"a template is copied as pipeline.yaml, not as {output.name}",
            hint="Name only its folder: --output FOLDER/pipeline.yaml.",
        )
    copy.check_name(template)
    with storage_errors(str(output)):
        output.unlink(missing_ok=True)
    copied = copy.copied(template, output.parent)
    if copied.truth is not None:
        console.print(f"made the rows: {synthetic.said(copied.truth)}", soft_wrap=True)
