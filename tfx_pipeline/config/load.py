"""Reads `pipeline.yaml`: an error names the file, the line, the field and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError
from yaml.reader import ReaderError

from tfx_pipeline.config.messages import Location, described, field_name
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.errors import ConfigError

_SHOWN_ERRORS = 8  # One screen.
_HINT = "docs/config.md describes every field."


def load_config(path: str | Path) -> PipelineConfig:
    """Reads and checks a pipeline's config.

    Args:
        path: The YAML file, or a folder that holds a `pipeline.yaml`.

    Raises:
        ConfigError: The file is missing, is no YAML, or does not describe a pipeline.
    """
    source = Path(path).expanduser()
    if source.is_dir():
        source = source / "pipeline.yaml"
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "no such config file",
            where=str(source),
            hint="Write one with `assay init --data my.csv --label COLUMN`, "
            "or name yours: `assay run FOLDER`, and `-c FOLDER` for all other commands.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(source)) from error
    config = parse_config(text, str(source), source.resolve().parent)
    config._folder = source.resolve().parent
    config._source = source.resolve()
    return config


def parse_config(
    text: str, source: str = "pipeline.yaml", folder: Path | None = None
) -> PipelineConfig:
    """Checks a config's text. `source` is the name that errors give it; files that it names start
    from `folder` (None: the working directory).

    Raises:
        ConfigError: The text is no YAML mapping, or does not describe a pipeline.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = _lines(root)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem, line = _yaml_problem(error, text)
        where = f"{source}:{line}" if line else source
        raise ConfigError(
            f"not valid YAML: {problem}", where=where, hint="Mend this line."
        ) from None
    except ValueError as error:  # A date or number that YAML recognizes, and Python has not.
        raise ConfigError(
            f"not valid YAML: {error}", where=source, hint="Put the value in quotes."
        ) from None
    except RecursionError:
        raise ConfigError("not valid YAML: nested too deep", where=source) from None
    if not isinstance(document, Mapping):
        raise ConfigError("empty, or not a mapping of sections", where=source)
    try:
        config = PipelineConfig.model_validate(document, context={"folder": folder or Path.cwd()})
    except ValidationError as error:
        raise _config_error(error, source, lines) from None
    config._lines = {field_name(path): line for path, line in lines.items()}
    return config


def _yaml_problem(error: yaml.YAMLError, text: str) -> tuple[str, int | None]:
    """What the parser does not like, and the line, from 1."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return str(error.problem or error), mark.line + 1 if mark else None
    if isinstance(error, ReaderError):
        return f"{error.reason} ({error.character!r})", text.count("\n", 0, error.position) + 1
    return str(error), None


def _lines(
    node: yaml.Node | None, path: Location = (), around: tuple[yaml.Node, ...] = ()
) -> dict[Location, int]:
    """The line (from 1) of every key and item; a key given twice is an error."""
    found: dict[Location, int] = {}
    if node is None:
        return found
    if node in around:
        raise _refused("an alias within what it stands for", node)
    around = (*around, node)
    found.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key must be a word, not a list or mapping", key)
            if key.value in seen:
                raise _refused(f"the key {key.value!r} is given twice", key)
            seen.add(key.value)
            found |= _lines(value, (*path, key.value), around)
            found[(*path, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found |= _lines(value, (*path, index), around)
    return found


def _refused(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _config_error(error: ValidationError, source: str, lines: dict[Location, int]) -> ConfigError:
    found = [described(each) for each in error.errors(include_url=False)]
    problems = sorted((_line_of(path, lines), text) for path, text, _ in found)
    first_line = problems[0][0]
    hint = _HINT if any(is_helped for _, _, is_helped in found) else ""
    if len(problems) == 1:
        return ConfigError(problems[0][1], where=f"{source}:{first_line}", hint=hint)
    listed = [f"  line {line}: {text}" for line, text in problems[:_SHOWN_ERRORS]]
    if len(problems) > _SHOWN_ERRORS:
        listed.append(f"  … and {len(problems) - _SHOWN_ERRORS} more")
    return ConfigError(
        f"{len(problems)} errors\n" + "\n".join(listed), where=f"{source}:{first_line}", hint=hint
    )


def _line_of(path: Location, lines: dict[Location, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
