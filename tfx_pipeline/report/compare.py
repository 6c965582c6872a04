"""What differs between two runs: config, data, metrics, versions, nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tfx_pipeline.ingest.known import read_records
from tfx_pipeline.report.record import CONFIG_FILE, RunRecord

_DIGITS = 12  # Of a digest: enough to tell two apart.


@dataclass(frozen=True)
class Difference:
    """One value that is not the same in both runs; None where a run does not have it."""

    section: str
    name: str
    before: Any
    after: Any


def differences(root: Path, before: RunRecord, after: RunRecord) -> list[Difference]:
    """All that differs, section by section: config, data, metrics, nodes, versions."""
    found = _differ("config", _config(root, before), _config(root, after))
    found += _differ("data", _data(before), _data(after))
    found += _differ("metrics", before.metrics, after.metrics)
    found += _differ("run", _outcome(before), _outcome(after))
    found += _differ("versions", before.versions, after.versions)
    return found


def _config(root: Path, record: RunRecord) -> dict[str, Any]:
    path = root / record.run_id / CONFIG_FILE
    if not path.is_file():
        return {}
    return _flat(yaml.safe_load(path.read_text(encoding="utf-8")))


def _data(record: RunRecord) -> dict[str, Any]:
    """Of all the data and, where their artifact says so, how many rows, and of each file."""
    found: dict[str, Any] = {"digest": record.data_digest[:_DIGITS] or None}
    node = record.nodes.get("ExampleGen")
    for examples in node.artifacts.get("examples", []) if node else []:
        counts = ("rows_train", "rows_val", "rows_eval", "rows_rejected", "files")
        found |= {key: examples.properties[key] for key in counts if key in examples.properties}
        files = read_records(Path(examples.uri)).files
        found |= {path: digest[:_DIGITS] for path, digest in files.items()}
    return found


def _outcome(record: RunRecord) -> dict[str, Any]:
    return {
        "state": record.state,
        "git_commit": record.git_commit,
        "ships": record.verdicts.get("ServingGate", {}).get("winner"),
        "pushed_to": record.pushed_to,
        "seconds": record.seconds,
    }


def _differ(section: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    names = list(dict.fromkeys([*before, *after]))
    return [
        Difference(section, name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """A nested document as dotted paths to its leaves."""
    if isinstance(value, dict) and value:
        return {
            key: leaf
            for name, inner in value.items()
            for key, leaf in _flat(inner, f"{path}.{name}" if path else str(name)).items()
        }
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return {
            key: leaf
            for index, inner in enumerate(value)
            for key, leaf in _flat(inner, f"{path}[{index}]").items()
        }
    return {path: value}
