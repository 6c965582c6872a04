"""What `assay serve` does; `tfx_pipeline.cli.serving` has its options."""

from __future__ import annotations

import typer


def serve(
    model_base_path: str,
    model_name: str = "default",
    port: int = 8500,
    bind_address: str = "0.0.0.0",
    file_system_poll_wait_seconds: int = 1,
    binary: bool = False,
) -> None:
    """Serve a pushed model over gRPC until Ctrl-C, picking up new versions as they appear."""
    flags = [
        f"--port={port}",
        f"--model_name={model_name}",
        f"--model_base_path={_absolute(model_base_path)}",
        f"--file_system_poll_wait_seconds={file_system_poll_wait_seconds}",
    ]
    if binary:
        _exec_binary(flags)
    from serving.server.main import main

    raise typer.Exit(main([*flags, f"--bind_address={bind_address}"]))


def _absolute(path: str) -> str:
    from pathlib import Path

    return path if "://" in path else str(Path(path).expanduser().absolute())


def _exec_binary(flags: list[str]) -> None:
    """Becomes the real TensorFlow Serving, with the same flags."""
    import os
    import shutil

    from tfx_pipeline.errors import EnvironmentMismatch

    path = shutil.which("tensorflow_model_server")
    if path is None:
        raise EnvironmentMismatch(
            "tensorflow_model_server is not on the PATH",
            hint="Install TensorFlow Serving, or leave --binary out to run our own server.",
        )
    os.execv(path, [path, *flags])
