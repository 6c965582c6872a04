"""Copies a template, with its data, into a folder of the user's."""

from __future__ import annotations

import difflib
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.errors import ConfigError, EnvironmentMismatch, storage_errors
from tfx_pipeline.templates import synthetic
from tfx_pipeline.templates.synthetic import Truth

_HERE = Path(__file__).resolve().parent
DEFAULT = "taxi"


@dataclass(frozen=True)
class Copied:
    """A template in a folder. `truth`: what was planted in rows that were made just now."""

    config: Path
    truth: Truth | None = None


def names() -> list[str]:
    """The templates that there are, the default first."""
    found = sorted(path.parent.name for path in _HERE.glob("*/pipeline.yaml"))
    return sorted(found, key=lambda name: name != DEFAULT)


def summaries() -> dict[str, str]:
    """What each template is, in one line: the first of its pipeline.yaml."""
    return {name: _summary(name) for name in names()}


def check_name(name: str) -> None:
    """Raises ConfigError for a template that there is not."""
    known = summaries()
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    width = max(map(len, known))
    listed = "\n".join(f"  {known_name:<{width}}  {what}" for known_name, what in known.items())
    guess = f"Did you mean {close[0]!r}? " if close else ""
    raise ConfigError(f"no such template: {name!r}", hint=f"{guess}There are:\n{listed}")


def copy_template(name: str, folder: Path, rows: int | None = None) -> Path:
    """As `copied`; the folder's pipeline.yaml."""
    return copied(name, folder, rows).config


def copied(name: str, folder: Path, rows: int | None = None) -> Copied:
    """Copies a template's config and data; files that are already there stay as they are.

    Args:
        name: The template.
        folder: Where to; it is made where there is none.
        rows: How many rows its data.py makes; None: its own number. The taxi trips are all copied.

    Raises:
        ConfigError: There is no such template.
        StorageError: The folder cannot be written.
        EnvironmentMismatch: The package that carries the data is not installed.
    """
    check_name(name)
    config, script = folder / "pipeline.yaml", _HERE / name / "data.py"
    truth = None
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        for source in sorted((_HERE / name).iterdir()):
            if source.is_file():
                _copy(source, folder / source.name)
        if script.is_file():
            truth = _make(script, folder, rows)
        else:
            _copy(taxi_csv(), folder / "data.csv")
    return Copied(config, truth)


def _summary(name: str) -> str:
    with (_HERE / name / "pipeline.yaml").open(encoding="utf-8") as lines:
        return next(lines).lstrip("# ").strip()


def _copy(source: Path, target: Path) -> None:
    """Copies a file whole or not at all, and only where there is none."""
    if target.exists():
        return
    with _beside(target) as folder:
        shutil.copyfile(source, folder / target.name)
        (folder / target.name).rename(target)


def _make(script: Path, folder: Path, rows: int | None) -> Truth | None:
    """Writes a template's rows, whole or not at all, and only where there are none."""
    module = synthetic.load(script)
    target = folder / module.FILE
    if target.exists():
        return None
    with _beside(target) as made:
        truth = synthetic.write(module, made / target.name, rows)
        # The rows last: where they are, what is true of them is there, too.
        for file in sorted(made.iterdir(), key=lambda file: file.name == target.name):
            if not (folder / file.name).exists():
                file.rename(folder / file.name)
    return truth


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        yield Path(folder)


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
