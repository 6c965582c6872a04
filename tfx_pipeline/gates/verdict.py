"""`Verdict`: what a gate decided and why, as written beside the thing it judges."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_pipeline.files import write_text

FILE_NAME = "verdict.json"
OVERALL = "overall"

_SCHEMES_ON_DISK = ("", "file")


@dataclass(frozen=True)
class Check:
    """One comparison of something measured with what was required of it.

    Attributes:
        what: The metric, or the column, that was looked at.
        slice: `overall`, a slice (`payment_type=Cash`), or a split (`train`).
        threshold: What was required, as text (`>= 0.9`, `type FLOAT`).
        measured: What was found; None where it could not be measured.
        margin: How far inside the bound the measurement is, in the metric's unit; negative is how
            far outside. None where there is no distance.
        baseline: The last blessed model's value (drift: none); None without one.
        passed: Whether this check lets the run go on.
        reason: One sentence; always there when it did not pass.
        severity: Of an anomaly: `error` or `warning`; empty for metrics.
    """

    what: str
    slice: str
    threshold: str
    measured: float | str | None
    margin: float | None
    baseline: float | None
    passed: bool
    reason: str = ""
    severity: str = ""


@dataclass(frozen=True)
class Verdict:
    """A gate's decision.

    Attributes:
        gate: `data` or `quality`.
        blessed: Whether the run may go on to the next step.
        checks: Everything that was compared.
        reason: One sentence that sums the decision up.
        metrics: Quality gate: every metric measured, by slice, then by name; None is not a number.
        baseline_metrics: The same for the last blessed model; empty without one.
        subject: URI of what was judged.
        baseline: URI of what it was compared with; empty without one.
    """

    gate: str
    blessed: bool
    checks: list[Check] = field(default_factory=list)
    reason: str = ""
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    baseline_metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    subject: str = ""
    baseline: str = ""

    @property
    def failed(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def to_json(self) -> str:
        """Strict JSON (RFC 8259): a number that is not finite is written as null."""
        return json.dumps(_finite(dataclasses.asdict(self)), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """The inverse of `to_json`.

        Raises:
            ValueError: When `text` is not a verdict.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["checks"] = [Check(**check) for check in fields["checks"]]
            verdict = cls(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a verdict: {error}") from error
        if not isinstance(verdict.blessed, bool):
            raise ValueError(f"not a verdict: `blessed` is {verdict.blessed!r}")
        return verdict


def write_verdict(verdict: Verdict, folder_uri: str) -> str:
    """Writes `verdict.json` into a folder, whole or not at all, and returns its path.

    Args:
        verdict: What to write.
        folder_uri: The folder; on a local disk the file is written beside and renamed into place.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    text = verdict.to_json()
    path = os.path.join(folder_uri, FILE_NAME)
    if not is_local(folder_uri):
        from tfx.utils import io_utils

        io_utils.write_string_file(path, text)
        return path
    write_text(Path(path.removeprefix("file://")), text)
    return path


def read_verdict(folder_uri: str) -> Verdict | None:
    """The verdict in a folder, or None if the folder holds none.

    Raises:
        ValueError: The file is there and is not a verdict.
    """
    path = os.path.join(folder_uri, FILE_NAME)
    if not is_local(folder_uri):
        from tfx.dsl.io import fileio

        return Verdict.from_json(fileio.open(path).read()) if fileio.exists(path) else None
    file = Path(path.removeprefix("file://"))
    return Verdict.from_json(file.read_text(encoding="utf-8")) if file.exists() else None


def is_local(uri: str) -> bool:
    """Whether a URI is a path of this machine's file system, where a rename is atomic."""
    scheme = uri.split("://", 1)[0] if "://" in uri else ""
    return scheme in _SCHEMES_ON_DISK


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
