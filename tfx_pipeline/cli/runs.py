"""`assay runs`, `assay show` and `assay diff`: what has been run, and how runs differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tfx_pipeline.cli import hints, tables

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The config (or its folder) whose runs are meant.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_STYLES = {"complete": "green", "refused": "yellow", "failed": "red", "interrupted": "red"}


def runs(config: ConfigOption = Path("pipeline.yaml"), json: Json = False) -> None:
    """List the runs, the newest last."""
    from tfx_pipeline.config import load_config
    from tfx_pipeline.report import record as records

    pipeline = load_config(config)
    with hints.naming(config):
        found = records.load_all(pipeline.root)
    if json:
        typer.echo("[" + ",\n".join(record.model_dump_json() for record in found) + "]")
        return
    console = tables.output_console()
    if not found:
        start = f"assay run {hints.as_typed(pipeline.source or config)}".rstrip()
        console.print(f"no run yet; start one with [bold]{start}[/]", soft_wrap=True)
        return
    names = [name for name in _HEADLINE_METRICS if any(name in r.metrics for r in found)][:2]
    numbers = ("seconds", *names)
    table = tables.table("run", "state", *numbers, "data", "pushed", right=numbers, whole=["run"])
    for record in found:
        style = _STYLES.get(record.state, "")
        table.add_row(
            record.run_id,
            f"[{style}]{record.state}[/]" if style else record.state,
            f"{record.seconds:.1f}",
            *(f"{record.metrics[n]:.4f}" if n in record.metrics else "-" for n in names),
            record.data_digest[:8] or "-",
            Path(record.pushed_to).name or "-",
        )
    tables.show(console, table)


_HEADLINE_METRICS = ("auc", "accuracy", "macro_auc", "rmse", "r2", "pinball_loss")


def show(
    run: Annotated[
        str, typer.Argument(help="A run's id, the start of it, or `latest`.")
    ] = "latest",
    config: ConfigOption = Path("pipeline.yaml"),
    json: Json = False,
) -> None:
    """Print one run: its nodes, verdicts, data, versions."""
    from tfx_pipeline.cli.running import print_verdicts
    from tfx_pipeline.config import load_config
    from tfx_pipeline.report import record as records
    from trainer.tuning.journal import shown as written

    root = load_config(config).root
    with hints.naming(config):
        record = records.load(root, run)
    if json:
        typer.echo(record.model_dump_json(indent=1))
        return
    console = tables.output_console()
    local = record.runner == records.LOCAL
    by = "" if local else f" by {record.runner}"
    console.print(
        f"[bold]{record.pipeline}[/]  run {record.run_id}{escape(by)}  {record.state}",
        soft_wrap=True,
    )
    if record.error and record.state != "refused":
        console.print(f"  [red]{escape(record.error)}[/]", soft_wrap=True)
    table = tables.table(
        "node", "state", "seconds", "artifacts", right=["seconds"], whole=["artifacts"]
    )
    for node_id, node in record.nodes.items():
        uris = [a.uri for found in node.artifacts.values() for a in found]
        shown = "\n".join(_below(root, uri) for uri in uris)
        state = node.outcome or node.state
        table.add_row(node_id, state, f"{node.seconds:.1f}", escape(shown))
    tables.show(console, table)
    for node_id, node in record.nodes.items():
        if node.note:
            console.print(f"  [dim]{node_id}[/]  {escape(node.note)}", soft_wrap=True)
    print_verdicts(console, record, all_gates=True)
    slices = _slices(record.verdicts.get("Evaluator", {}).get("metrics", {}))
    if slices is not None:
        console.print(slices)
    for label, value in (
        ("tuned", ", ".join(f"{path} {written(found)}" for path, found in record.tuned.items())),
        ("config", record.config_file),
        ("data", record.data_digest),
        ("git", record.git_commit),
        ("pushed", record.pushed_to),
        # Another runner's nodes are processes of their own, each with its log.
        ("log", str(root / record.run_id / (records.LOG_FILE if local else records.NODE_LOGS))),
        ("versions", ", ".join(f"{k} {v}" for k, v in record.versions.items())),
    ):
        if value:
            console.print(f"  [dim]{label:<9}[/]{escape(value)}", soft_wrap=True)


def _slices(metrics: dict[str, dict[str, float | None]]) -> Table | None:
    """Metrics by slice, the worst of the headline metric first."""
    from tfx_pipeline.gates.metrics import METRICS

    name = next((n for n in _HEADLINE_METRICS if n in metrics.get("overall", {})), None)
    if name is None or len(metrics) < 2:
        return None
    lower_is_better = METRICS[name].better == "lower"

    def badness(item: tuple[str, dict[str, float | None]]) -> float:
        value = item[1].get(name)
        if value is None:
            return float("inf")
        return -value if lower_is_better else value

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("slice", name, "rows"):
        table.add_column(column, justify="left" if column == "slice" else "right")
    ordered = sorted(metrics.items(), key=badness)
    for slice_name, values in ordered[:_SHOWN_SLICES]:
        table.add_row(
            escape(slice_name), _value(values.get(name)), f"{values.get('example_count') or 0:.0f}"
        )
    if len(ordered) > _SHOWN_SLICES:
        table.add_row(f"[dim]and {len(ordered) - _SHOWN_SLICES} more, in run.json[/]")
    return table


_SHOWN_SLICES = 12


def _below(root: Path, uri: str) -> str:
    return uri.removeprefix(f"{root}/")


def diff(
    before: Annotated[
        str, typer.Argument(help="A run's id, or the start of it; default: the last but one.")
    ] = "",
    after: Annotated[str, typer.Argument(help="Another's.")] = "latest",
    config: ConfigOption = Path("pipeline.yaml"),
    json: Json = False,
) -> None:
    """Compare two runs: config, data, metrics, versions."""
    import dataclasses
    from json import dumps

    from tfx_pipeline.config import load_config
    from tfx_pipeline.report import record as records
    from tfx_pipeline.report.compare import differences

    root = load_config(config).root
    with hints.naming(config):
        first = records.load(root, before) if before else records.last_but_one(root)
        second = records.load(root, after)
    found = differences(root, first, second)
    if json:
        typer.echo(dumps([dataclasses.asdict(d) for d in found], indent=1))
        return
    console = tables.output_console()
    ids = first.run_id, second.run_id
    table = tables.table("", "key", *ids, whole=["key"])
    for column, run_id in zip(table.columns[2:], ids, strict=True):
        column.min_width = len(run_id)  # The head stays whole; the values below it are folded.
    key_width = max(_KEY_AT_LEAST, console.width - _BESIDE_THE_KEY)
    for difference in found:
        table.add_row(
            f"[dim]{difference.section}[/]",
            escape(tables.fold_key(difference.name, key_width)),
            escape(_below(root, _value(difference.before))),
            escape(_below(root, _value(difference.after))),
        )
    if found:
        tables.show(console, table)
    else:
        console.print("the two runs do not differ")


# The section's column, two runs' ids, and the gaps between them.
_BESIDE_THE_KEY = 8 + 2 * 20 + 3 * 2
_KEY_AT_LEAST = 24


def _value(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
