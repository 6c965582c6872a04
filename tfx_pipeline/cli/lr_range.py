"""`assay lr-range`: which learning rate the pipeline's network can be trained with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

from tfx_pipeline.cli.run import ConfigPath

if TYPE_CHECKING:
    from tfx_pipeline.config import PipelineConfig
    from trainer.lr_range import RangeTest


def lr_range(
    config: ConfigPath = Path("pipeline.yaml"),
    lowest: Annotated[float, typer.Option("--from", help="First learning rate.")] = 1e-6,
    highest: Annotated[float, typer.Option("--to", help="Last learning rate.")] = 10.0,
    steps: Annotated[int, typer.Option(min=20, help="Steps between them.")] = 200,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of the plot and the table; else `lr-range` with the runs"
        ),
    ] = None,
) -> None:
    """Find a learning rate: train with a growing one on the newest run's data until it diverges."""
    import os

    from tfx_pipeline.cli import hints, tables
    from tfx_pipeline.config import load_config
    from tfx_pipeline.errors import ConfigError, storage_errors
    from tfx_pipeline.runners.calm import calm_terminal

    if not 0 < lowest < highest:
        raise ConfigError(f"--from {lowest:g} is not above 0 and below --to {highest:g}")
    pipeline = load_config(config)
    folder = output or pipeline.root / "lr-range"
    with hints.naming(config), calm_terminal(Path(os.devnull)):
        examples, graph = newest_examples(pipeline)
        with storage_errors(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
        found = run_range_test(pipeline, examples, graph, lowest, highest, steps)
        from trainer.lr_range import write_csv, write_plot

        write_csv(found, folder / "lr-range.csv")
        write_plot(found, folder / "lr-range.png")
    console = tables.output_console()
    ended = "diverged" if found.diverged else "did not diverge"
    console.print(
        f"{len(found.rates)} steps from {lowest:g} to {found.rates[-1]:.3g}: {ended}; the loss was "
        f"lowest at a rate of {found.lowest_at:.2g}\n"
        f"[bold]train.learning_rate: {found.suggested:.2g}[/]\n"
        f"plot {folder / 'lr-range.png'}, table {folder / 'lr-range.csv'}",
        soft_wrap=True,
    )


def newest_examples(config: PipelineConfig) -> tuple[str, str]:
    """Folders of the newest run's transformed examples and transform graph.

    Raises:
        ConfigError: No run has got that far.
    """
    from tfx_pipeline.errors import ConfigError
    from tfx_pipeline.report import record as records

    for record in reversed(records.load_all(config.root)):
        node = record.nodes.get("Transform")
        made = [
            node.artifacts[name][-1].uri
            for name in ("transformed_examples", "transform_graph")
            if node is not None and node.artifacts.get(name)
        ]
        if len(made) == 2 and all(Path(uri).is_dir() for uri in made):
            return made[0], made[1]
    raise ConfigError(
        "no run here has transformed examples to train on",
        where=str(config.root),
        hint="Start one: `assay run`.",
    )


def run_range_test(
    config: PipelineConfig, examples: str, graph: str, lowest: float, highest: float, steps: int
) -> RangeTest:
    """Builds the network of the config and sweeps its rate, on one device."""
    from trainer.loading import TrainerConfig, load
    from trainer.lr_range import range_config, range_test
    from trainer.regularize.batches import preparation
    from trainer.run import build_compiled

    train = range_config(config.train)
    given = TrainerConfig(config.transform, config.model, train, config.folder)
    files = SimpleNamespace(
        train_files=[f"{examples}/Split-train/*"], eval_files=[], transform_graph_path=graph
    )
    # The part of FnArgs that it reads.
    data = load(files, given)  # type: ignore[arg-type]
    model = build_compiled(given, data)
    prepare = preparation(train, given.transform, data.features, data.tft_output, given.folder)
    return range_test(
        model, train, data.train_split, prepare, lowest=lowest, highest=highest, steps=steps
    )
