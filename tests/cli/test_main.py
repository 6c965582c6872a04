"""The command itself."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from tfx_pipeline.cli.main import app


def test_the_version_needs_no_command() -> None:
    printed = CliRunner().invoke(app, ["--version"])
    assert (printed.exit_code, printed.output) == (0, f"assay {version('tfx-assay')}\n")


def test_commands_are_named_as_they_are_typed() -> None:
    names = {command.name for command in app.registered_commands}
    assert {"run-node", "compile", "submit", "image"} <= names
