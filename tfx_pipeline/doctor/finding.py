"""What one check of `assay doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: What was looked at, in a word or two.
        status: `fail` if something will not work, `warn` if it will be slow or may surprise.
        detail: What was seen, with its numbers.
        remedy: What to do about it, in the imperative; empty when there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
