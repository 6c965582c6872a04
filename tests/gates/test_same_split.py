"""Whether an earlier model may be measured on these eval rows."""

from __future__ import annotations

import pytest

from tfx_pipeline.config.data import SplitConfig
from tfx_pipeline.gates.same_split import split_record, why_not_comparable


def _record(columns: list[str], **split: object) -> str:
    return split_record(SplitConfig.model_validate(split), columns)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (_record(["a", "b"]), _record(["b", "a"])),
        (_record(["a"], val_fraction=0.1), _record(["a"], val_fraction=0.2)),
        (_record(["a"], eval_fraction=0.4), _record(["a"], eval_fraction=0.3)),
        (
            _record(["t"], method="time", column="t"),
            _record(["t"], method="time", column="t"),
        ),
        ("", ""),  # BigQuery, and examples of other makers: nothing is recorded.
    ],
)
def test_rows_that_stayed_are_comparable(before: str, now: str) -> None:
    assert why_not_comparable(now, before) == ""


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (_record(["a", "b"]), _record(["a", "b", "c"]), "c was added"),
        (_record(["a", "b"]), _record(["a"]), "b was taken away"),
        (_record(["a"]), _record(["b"]), "b was added and a was taken away"),
        (_record(["a"], eval_fraction=0.2), _record(["a"], eval_fraction=0.3), "0.2 to 0.3"),
        (_record(["t"]), _record(["t"], method="time", column="t"), "hash to time"),
        (_record([f"c{n}" for n in range(9)]), _record(["a"]), "c0, c1, c2 and 6 more"),
        ("", _record(["a"]), "is not known"),
        (_record(["a"]), "", "is not known"),
    ],
)
def test_rows_that_may_have_moved_are_not(before: str, now: str, why: str) -> None:
    assert why in why_not_comparable(now, before)
