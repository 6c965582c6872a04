"""Hints name the command as it has to be typed here, with the config that is meant."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tfx_pipeline.errors import AssayError

CONFIG_FILE = "pipeline.yaml"
# Errors are raised far from the command line and name the plain command.
_COMMAND = re.compile(r"`assay (run|check|runs|show|diff)((?: [^`]*)?)`")
_TAKES_OPTION = ("runs", "show", "diff")


@contextlib.contextmanager
def naming(config: Path) -> Iterator[None]:
    """Puts the config into the hint of an error that passes, unless it is the default one.

    Args:
        config: The config file, or its folder.
    """
    try:
        yield
    except AssayError as error:
        error.hint = with_config(error.hint, config)
        raise


def with_config(text: str, config: Path) -> str:
    """A text whose `assay ...` commands name the config; a second call changes nothing."""
    typed = as_typed(config)
    if not typed:
        return text

    def named(found: re.Match[str]) -> str:
        command, rest = found.groups()
        if rest.endswith(f" {typed}"):
            return found.group()
        option = "-c " if command in _TAKES_OPTION else ""
        return f"`assay {command}{rest} {option}{typed}`"

    return _COMMAND.sub(named, text)


def as_typed(config: Path) -> str:
    """The config as a person would type it from here; empty where it need not be."""
    config = config.resolve()
    if config.name == CONFIG_FILE:
        config = config.parent
    path = shown(config)
    return "" if path == "." else shlex.quote(path)


def shown(path: Path) -> str:
    """A path as it is seen from here: relative where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
