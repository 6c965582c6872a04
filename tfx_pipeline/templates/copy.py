"""Copies a template, with its data, into a folder of the user's."""

from __future__ import annotations

import difflib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfx_pipeline.errors import ConfigError, EnvironmentMismatch, storage_errors

_HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """The templates that there are."""
    return sorted(path.parent.name for path in _HERE.glob("*/pipeline.yaml"))


def copy_template(name: str, folder: Path) -> Path:
    """Copies a template's config and data; files that are already there stay as they are.

    Returns:
        The folder's pipeline.yaml.

    Raises:
        ConfigError: There is no such template.
        StorageError: The folder cannot be written.
        EnvironmentMismatch: The package that carries the data is not installed.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names())}."
        raise ConfigError(f"no such template: {name!r}", hint=hint)
    config = folder / "pipeline.yaml"
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        _copy(_HERE / name / "pipeline.yaml", config)
        _copy(_DATA[name](), folder / "data.csv")
    return config


def _copy(source: Path, target: Path) -> None:
    """Copies a file whole or not at all, and only where there is none."""
    if target.exists():
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as beside:
        whole = Path(beside) / target.name
        shutil.copyfile(source, whole)
        whole.rename(target)


def taxi_csv() -> Path:
    """The Chicago taxi CSV (15,002 trips) inside the installed tfx package, without importing it.

    Raises:
        EnvironmentMismatch: tfx is not installed.
    """
    spec = importlib.util.find_spec("tfx")
    if spec is None or spec.origin is None:
        raise EnvironmentMismatch(
            "the package tfx, which carries the taxi data, is not installed",
            hint="Install the pipeline: `pip install tfx-assay[pipeline]`, or `make run`.",
        )
    return Path(spec.origin).parent / "examples/chicago_taxi_pipeline/data/simple/data.csv"


_DATA: dict[str, Callable[[], Path]] = {"taxi": taxi_csv}
