"""The command `assay`: finds the subcommand, and shows errors as a person wants to read them.

Only light modules are imported here and at the top of the command modules: `assay --help` answers
at once, and TensorFlow is imported by the commands that need it.
"""

from __future__ import annotations

import os
import sys
import traceback

import typer
from rich.console import Console
from rich.markup import escape

from serving import cli_bench, cli_models
from tfx_pipeline.cli import (
    check,
    demo,
    image,
    lr_range,
    pretrain,
    run,
    run_node,
    runs,
    serving,
    submit,
    trials,
)
from tfx_pipeline.cli import compile as compiling
from tfx_pipeline.doctor import command as doctor
from tfx_pipeline.errors import INTERRUPTED_EXIT_CODE, AssayError
from tfx_pipeline.init import command as init

app = typer.Typer(
    name="assay",
    help="From raw data to a model that answers in TensorFlow Serving, measured before it ships.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


for command in (
    demo.demo,
    init.init,
    check.check,
    run.run,
    compiling.compile_,
    run_node.run_node,
    submit.submit,
    image.image,
    runs.runs,
    runs.show,
    runs.diff,
    trials.trials,
    lr_range.lr_range,
    pretrain.pretrain,
    serving.serve,
    serving.predict,
    cli_models.models,
    cli_bench.bench,
    doctor.doctor,
    check.schema,
):
    settings = serving.PASSES_FLAGS_ON if command is serving.serve else None
    # `run_node` is `run-node`; `compile_` is not `compile`, for that is Python's.
    app.command(command.__name__.strip("_").replace("_", "-"), context_settings=settings)(command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed

        typer.echo(f"assay {installed('tfx-assay')}")
        raise typer.Exit()


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        # Before the missing command is missed.
        False,
        "--version",
        help="Print the version and end.",
        callback=_version,
        is_eager=True,
    ),
) -> None:
    if debug:
        os.environ["ASSAY_DEBUG"] = "1"


def main() -> None:
    """Runs the command line; never returns."""
    try:
        app(standalone_mode=True)
    except AssayError as error:
        show_error(error)
        leave(error.exit_code)
    except SystemExit as end:  # So Typer ends: after a usage error, an Exit, Ctrl-C.
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))
    except KeyboardInterrupt:
        leave(INTERRUPTED_EXIT_CODE)
    except Exception as error:  # noqa: BLE001  The last resort: a defect of ours.
        console = Console(stderr=True)
        console.print(
            f"[red bold]a defect of Assay:[/] {type(error).__name__}: {escape(str(error))}"
        )
        if os.environ.get("ASSAY_DEBUG"):
            traceback.print_exc()
        else:
            console.print("Run again with [bold]assay --debug …[/] for the traceback.")
        leave(1)
    leave(0)


def show_error(error: AssayError) -> None:
    """Prints an error on standard error: what, where, and what to do."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[red bold]error:[/] {escape(error.headline)}")
    if error.where:
        console.print(f"  [dim]at[/] {escape(error.where)}")
    if error.hint:
        console.print(f"  [bold]→[/] {escape(error.hint)}")
    if os.environ.get("ASSAY_DEBUG"):
        traceback.print_exception(error)


def leave(code: int) -> None:
    """Ends the process at once: threads of an interrupted node may not end by themselves."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
