"""What `assay serve` does; `tfx_pipeline.cli.serving` has its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from tfx_pipeline.errors import ConfigError, EnvironmentMismatch


def serve(
    model_base_path: str,
    model_name: str = "default",
    port: int = 8500,
    bind_address: str = "0.0.0.0",
    file_system_poll_wait_seconds: int = 1,
    binary: bool = False,
    more: Sequence[str] = (),
    wait: bool = False,
) -> None:
    """Serves a model until Ctrl-C, picking up new versions as they appear.

    Args:
        model_base_path: The folder that holds the version folders.
        model_name: The name that requests use.
        port: TCP port for gRPC.
        bind_address: IP address to listen on.
        file_system_poll_wait_seconds: Seconds between two looks for new versions.
        binary: Run the `tensorflow_model_server` on the PATH.
        more: Further flags of the server; dashes in their names may stand for underscores.
        wait: Start even though there is nothing to serve yet.
    """
    if not wait and "://" not in model_base_path:
        _check_there_is_a_version(Path(model_base_path).expanduser())
    flags = [
        f"--port={port}",
        f"--model_name={model_name}",
        f"--model_base_path={_absolute(model_base_path)}",
        f"--file_system_poll_wait_seconds={file_system_poll_wait_seconds}",
        *map(_as_flag, more),
    ]
    if binary:
        _exec_binary(flags)
    from serving.server.main import main

    raise typer.Exit(main([*flags, f"--bind_address={bind_address}"]))


def _check_there_is_a_version(base_path: Path) -> None:
    if not base_path.is_dir():
        raise ConfigError(
            "there is no such folder to serve from",
            where=str(base_path),
            hint="It is the folder that holds the version folders. Nothing has been pushed yet? "
            "`assay run` does; `--wait` starts the server all the same.",
        )
    if not any(entry.name.isdigit() and entry.is_dir() for entry in base_path.iterdir()):
        inside = (base_path / "saved_model.pb").is_file()
        raise ConfigError(
            "there is no version to serve: no folder named by a number",
            where=str(base_path),
            hint=f"Name the folder above: {base_path.parent}."
            if inside and base_path.name.isdigit()
            else "Nothing was pushed, or the gate refused: `assay runs` tells. `--wait` starts "
            "the server all the same.",
        )


def _as_flag(word: str) -> str:
    name, equals, value = word.partition("=")
    return (name[:2] + name[2:].replace("-", "_") if name.startswith("--") else name) + (
        equals + value
    )


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())


def _exec_binary(flags: list[str]) -> None:
    """Becomes the real TensorFlow Serving, with the same flags."""
    import os
    import shutil

    path = shutil.which("tensorflow_model_server")
    if path is None:
        raise EnvironmentMismatch(
            "tensorflow_model_server is not on the PATH",
            hint="Install TensorFlow Serving, or leave --binary out to run our own server.",
        )
    os.execv(path, [path, *flags])
