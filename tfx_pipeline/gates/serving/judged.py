"""A candidate's row of the serving gate's verdict, and how it is read back from JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from tfx_pipeline.gates.serving.flips import Flip, Flips
from tfx_pipeline.gates.serving.measured import Estimate, Latency, Measured, Skew
from tfx_pipeline.gates.verdict import Check
from trainer.compression.candidate import Candidate


@dataclass(frozen=True)
class Judged:
    """A candidate's row of the verdict.

    Attributes:
        candidate: The ladder's row.
        measured: What was measured, without the predictions; None where nothing was.
        checks: Every budget; empty where it was not made or not measured.
        reasons: Why it is refused; empty where it passes.
        no_gain: See `gains.no_gain`; empty where there is one.
        flips: Rows that it answers differently from the float model.
    """

    candidate: Candidate
    measured: Measured | None
    checks: list[Check] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    no_gain: str = ""
    flips: Flips = field(default_factory=Flips)

    @property
    def passed(self) -> bool:
        """Whether it may ship: it was measured, and every check says so."""
        measured = self.measured is not None and not self.measured.failed
        return (
            measured
            and bool(self.checks)
            and not self.reasons
            and all(check.passed for check in self.checks)
        )


def judged_of(row: dict[str, Any]) -> Judged:
    """The inverse of `dataclasses.asdict`, after `finite` and JSON.

    Raises:
        TypeError: Or KeyError, or AttributeError: it is no such row.
    """
    candidate, changed = row["candidate"], row["flips"]
    return Judged(
        Candidate(
            **{
                **candidate,
                "notes": tuple(candidate["notes"]),
                "effects": _nan(candidate["effects"]),
            }
        ),
        measured_of(row["measured"]),
        [Check(**check) for check in row["checks"]],
        row["reasons"],
        row["no_gain"],
        Flips(changed["count"], changed["rows"], [Flip(**_nan(flip)) for flip in changed["top"]]),
    )


def measured_of(fields: dict[str, Any] | None) -> Measured | None:
    """The same of what was measured."""
    if fields is None:
        return None
    estimates = {
        key: {
            name: {metric: Estimate(**_nan(value)) for metric, value in metrics.items()}
            for name, metrics in fields[key].items()
        }
        for key in ("quality", "to_float", "to_champion")
    }
    latency, skew = fields["latency"], fields["skew"]
    parts = {
        "latency": latency
        and Latency(**_nan(latency, optional=("rate", "batch_ms", "batch_ratio"))),
        "skew": skew
        and Skew(**{**_nan(skew, optional=("row",)), "between": tuple(skew["between"])}),
    }
    return Measured(**{**fields, **estimates, **parts, "predictions": ()})


def _nan(fields: dict[str, Any], optional: tuple[str, ...] = ("label", "output")) -> dict[str, Any]:
    return {
        key: math.nan if value is None and key not in optional else value
        for key, value in fields.items()
    }


def finite(value: Any) -> Any:
    """As strict JSON (RFC 8259) can hold it: a number that is not finite becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
