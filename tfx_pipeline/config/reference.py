"""`reference`: every field of pipeline.yaml as Markdown, made from its JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tfx_pipeline.config.pipeline import PipelineConfig

_Schema = dict[str, Any]

_HEAD = """\
# The fields of pipeline.yaml

Made from the code by `tools/config_reference.py`; `make lint` fails when it is stale. A field
without a default must be given. `assay init` writes a file that is ready to be changed, `assay
check` checks one, and docs/pipeline.schema.json is the same for editors that complete YAML.
"""


def reference() -> str:
    """The whole document: a table for each section, in the order of the file."""
    schema = PipelineConfig.model_json_schema()
    parts = [_HEAD, _section("", schema, schema)]
    for path, section in _sections("", schema, schema):
        parts.append(_section(path, section, schema))
    return "\n".join(parts)


def _sections(path: str, section: _Schema, root: _Schema) -> Iterator[tuple[str, _Schema]]:
    """Every section below one, with its place in the file."""
    for name, field in section["properties"].items():
        place = f"{path}.{name}" if path else name
        for suffix, below in _below(field, root):
            here = place + suffix.replace("<column>", _KEYS.get(name, "<column>"))
            yield here, below
            yield from _sections(here, below, root)


def _below(
    field: _Schema, root: _Schema, *, is_branch: bool = False
) -> Iterator[tuple[str, _Schema]]:
    """The sections that a field holds: itself, or what its list or mapping is of."""
    if "$ref" in field:
        section = root["$defs"][field["$ref"].rpartition("/")[2]]
        if "properties" in section:
            yield _which(section) if is_branch else "", section
    for choice in field.get("anyOf", ()):
        yield from _below(choice, root)
    for choice in field.get("oneOf", ()):
        yield from _below(choice, root, is_branch=True)
    if "items" in field:
        yield from ((f"[]{suffix}", below) for suffix, below in _below(field["items"], root))
    if isinstance(field.get("additionalProperties"), dict):
        for suffix, below in _below(field["additionalProperties"], root):
            yield f".<column>{suffix}", below


def _which(section: _Schema) -> str:
    """What a branch of a union is told apart by, as ` with `kind: text``; else empty."""
    for key in _TOLD_APART_BY:
        field = section["properties"].get(key, {})
        values = [field["const"]] if "const" in field else field.get("enum", [])
        if values:
            return f" with `{key}: {', '.join(values)}`"
    return ""


_TOLD_APART_BY = ("kind", "method")
# What the keys of a mapping name, where it is no column.
_KEYS = {"nodes": "<node>", "space": "<field>"}


def _section(path: str, section: _Schema, root: _Schema) -> str:
    title = path if "`" in path or not path else f"`{path}`"
    if " with " in path:
        place, _, rest = path.partition(" with ")
        title = f"`{place}` with {rest}"
    about = " ".join(section.get("description", "").split())
    lines = [f"## {title}\n"] if path else []
    lines += [f"{about}\n", "| Field | Type | Default | Meaning |", "|---|---|---|---|"]
    for name, field in section["properties"].items():
        tells = name in _TOLD_APART_BY and " with " in path
        required = tells or name in section.get("required", ())
        default = "(required)" if required else _default(field)
        meaning = _meaning(name, field, root)
        cells = (f"`{name}`", _type(field, root), default, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _meaning(name: str, field: _Schema, root: _Schema) -> str:
    if name == "kind":
        return "What the column is."
    about = field.get("description", "")
    if not about and "$ref" in field:  # Pydantic drops what the section says as well.
        about = root["$defs"][field["$ref"].rpartition("/")[2]].get("description", "")
    return " ".join(about.split())


def _default(field: _Schema) -> str:
    value = field.get("default")
    if value is None:
        return "none"
    return "see its section" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def _type(field: _Schema, root: _Schema) -> str:
    if "$ref" in field:
        section = root["$defs"][field["$ref"].rpartition("/")[2]]
        return "section" if "properties" in section else _type(section, root)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    choices = [*field.get("anyOf", ()), *field.get("oneOf", ())]
    if choices:
        names = (_type(choice, root) for choice in choices if choice.get("type") != "null")
        return " or ".join(dict.fromkeys(names))
    match field.get("type"):
        case "array" if "prefixItems" in field:
            return f"list of {len(field['prefixItems'])} {_type(field['prefixItems'][0], root)}s"
        case "array":
            return f"list of {_type(field['items'], root)}" if field["items"] else "list"
        case "object" if not isinstance(field["additionalProperties"], dict):
            return "mapping"
        case "object":
            return f"mapping of name to {_type(field['additionalProperties'], root)}"
        case "string":
            return "text"
        case "boolean":
            return "true, false"
        case kind:
            return ("whole number" if kind == "integer" else str(kind)) + _range(field)


def _range(field: _Schema) -> str:
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    told = [f"{words} {field[key]:g}" for key, words in bounds.items() if key in field]
    return f" {', '.join(told)}" if told else ""
