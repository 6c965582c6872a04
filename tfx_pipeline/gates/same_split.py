"""Whether an earlier model may be measured on these eval rows, or was trained on some of them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tfx_pipeline.config.data import SplitConfig

SPLIT_BY_PROPERTY = "split_by"
"""Custom property of Examples, and of the ModelBlessing of a model that was measured on them."""


def split_record(split: SplitConfig, columns: Iterable[str]) -> str:
    """What decided the split of some rows, as `why_not_comparable` reads it.

    Args:
        split: The config.
        columns: The columns whose values decided: those hashed, or the one of `split.column`.
    """
    return json.dumps(
        {
            "method": split.method,
            "columns": sorted(columns),
            "eval_fraction": split.eval_fraction,
        }
    )


def why_not_comparable(now: str, before: str) -> str:
    """Why eval rows of one split may have been training rows of another; empty if none can be.

    The eval rows are the lowest of the hash's range, or the latest: fewer of them are rows that
    were eval rows before. With one column more, every row has another hash.

    Args:
        now: `split_record` of the eval rows; empty if there is none.
        before: That of the rows that the earlier model was trained on.
    """
    if now == before:
        return ""
    if not now or not before:
        return "what split the rows is not known of both models"
    new, old = json.loads(now), json.loads(before)
    if new["method"] != old["method"]:
        return f"the method of the split went from {old['method']} to {new['method']}"
    changes = [
        f"{_some(names)} {'was' if len(names) == 1 else 'were'} {what}"
        for names, what in (
            (sorted({*new["columns"]} - {*old["columns"]}), "added"),
            (sorted({*old["columns"]} - {*new["columns"]}), "taken away"),
        )
        if names
    ]
    if changes:
        return f"of the columns that split the rows, {' and '.join(changes)}"
    by_share = new["method"] in ("hash", "time")
    if by_share and new["eval_fraction"] > old["eval_fraction"]:
        return f"eval_fraction went from {old['eval_fraction']:g} to {new['eval_fraction']:g}"
    return ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
