"""The registered checks, and the one error that tells all that they found."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import AssayError, ConfigError


@dataclass(frozen=True)
class Problem:
    """Something in the config that cannot end well. `field`: as in `gates.quality.slices[0]`."""

    field: str
    what: str
    hint: str = ""


Check = Callable[[PipelineConfig], Iterable[Problem]]

# Checks that read the data, which may be where the nodes run and not here.
OF_THE_DATA = ("data_is_there", "data_fit_the_config")

_CHECKS: list[Check] = []


def register(check: Check) -> Check:
    """Adds a check; a decorator."""
    _CHECKS.append(check)
    return check


def checks() -> list[Check]:
    """All checks of this package."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")  # Importing registers.
    return list(_CHECKS)


def lint(config: PipelineConfig, without: Container[str] = ()) -> None:
    """Runs every check.

    Args:
        config: The pipeline.
        without: Names of checks to leave out.

    Raises:
        AssayError: A single problem that a check raised itself (data or user code), or a
            ConfigError that lists the problems found.
    """
    problems: list[Problem] = []
    raised: list[AssayError] = []
    for check in checks():
        if check.__name__ in without:
            continue
        try:
            problems.extend(check(config))
        except AssayError as error:
            raised.append(error)
    if raised and not problems:
        raise raised[0]
    if not problems and not raised:
        return
    where = str(config.source or "pipeline.yaml")
    if len(problems) == 1 and not raised:
        [problem] = problems
        place = config.place(problem.field)
        raise ConfigError(f"{problem.field}: {problem.what}", where=place, hint=problem.hint)
    lines = [_line(_told(config, p.field), p.what, p.hint) for p in problems]
    lines += [_line(error.where, error.headline, error.hint) for error in raised]
    raise ConfigError(f"{len(lines)} problems\n" + "\n".join(lines), where=where)


def _told(config: PipelineConfig, field: str) -> str:
    _, colon, line = config.place(field).rpartition(":")
    return f"line {line}: {field}" if colon and line.isdigit() else field


def _line(where: str, what: str, hint: str) -> str:
    return f"  {where}: {what}".replace("  : ", "  ") + (f" ({hint})" if hint else "")
