"""Budgets: each bound holds or says by how much not, and what is not known never holds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gates.serving.verdicts import CARD, CASH, GATES, SMALL, one
from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.gates.serving.budgets import check_all, why_refused
from tfx_pipeline.gates.serving.measured import Estimate, Measured, Skew
from tfx_pipeline.gates.serving.quality_budgets import Others
from tfx_pipeline.gates.verdict import Check

FLOAT, CHAMPION = one("float"), one("champion")
BOTH = Others(FLOAT, CHAMPION)


def gates(**sections: Any) -> GatesConfig:
    """Gates with one easy threshold and what is given."""
    quality = {"thresholds": [{"metric": "auc", "min": 0.5}], "slices": [["payment_type"]]}
    return GatesConfig.model_validate({"quality": quality, **sections})


def failing(candidate: Measured, config: GatesConfig, others: Others = BOTH) -> list[Check]:
    return [c for c in check_all(candidate, others, config, "binary") if not c.passed]


def only(candidate: Measured, config: GatesConfig, others: Others = BOTH) -> Check:
    [check] = failing(candidate, config, others)
    assert check.reason
    return check


def with_auc(candidate: Measured, name: str, value: float, rows: int = 900) -> Measured:
    estimate = Estimate(value, value - 0.01, value + 0.01, rows)
    return replace(candidate, quality={**candidate.quality, name: {"auc": estimate}})


def test_a_good_candidate_passes_every_budget() -> None:
    checks = check_all(one("int8"), BOTH, GATES, "binary")
    assert [c.reason for c in checks if not c.passed] == []
    assert {c.what for c in checks} == {"auc", "p99", "served bytes", "memory", "skew"}


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"latency_p99_ms": {"max": 0.5}}, "p99 0.7968 is 0.2968 over <= 0.5 ms"),
        ({"latency_p99_ms": {"max_ratio": 0.5}}, "p99 0.96 x float is 0.46 over <= 0.5 x float"),
        (
            {"latency_p99_ms": {"max_ratio_champion": 0.9}},
            "p99 0.9057 x champion is 0.00566 over <= 0.9 x champion",
        ),
        (
            {"size_bytes": {"max": 200_000}},
            "served bytes 246,992 is 46,992 over <= 200,000 bytes",
        ),
        (
            {"size_bytes": {"max_ratio": 0.7, "of": "gzip"}},
            "gzip bytes 0.7638 x float is 0.06377 over <= 0.7 x float",
        ),
        ({"size_bytes": {"max_ratio_champion": 1, "of": "disk"}}, "disk bytes 1.165 x champion is"),
        ({"memory_mb": {"max": 20}}, "memory 29.4 is 9.4 over <= 20 MB"),
    ],
)
def test_a_bound_that_is_passed_over_says_by_how_much(section: Any, reason: str) -> None:
    check = only(one("int8"), gates(**section))
    assert check.reason.startswith(reason)
    assert check.margin is not None
    assert check.margin < 0


ALL_BOUNDS = {"max": 1e9, "max_ratio": 1e9, "max_ratio_champion": 1e9}
FIGURES = gates(latency_p99_ms=ALL_BOUNDS, size_bytes=ALL_BOUNDS, memory_mb=ALL_BOUNDS)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_fails_every_bound(value: float | None) -> None:
    int8 = one("int8")
    assert int8.latency is not None
    latency = value and replace(int8.latency, p99_ms=value, p99_ratio=value)
    blank = replace(int8, latency=latency, served_bytes=value, memory_mb=value)  # type: ignore[arg-type]
    assert failing(int8, FIGURES) == []
    failed = [c for c in failing(blank, FIGURES) if c.threshold != "measured"]
    assert len(failed) == 9
    assert all("not measured" in c.reason for c in failed)


def test_a_model_of_no_bytes_was_looked_for_in_the_wrong_place() -> None:
    assert len(failing(one("int8", served_bytes=0), gates(size_bytes={"max": 10}))) == 2


@pytest.mark.parametrize("who", ["parent", "champion"])
@pytest.mark.parametrize(
    "other",
    [
        Measured("x", failed="it does not load: damaged"),
        replace(FLOAT, failed="it died after it was measured"),
        replace(FLOAT, latency=None, served_bytes=None, memory_mb=None),
        replace(FLOAT, memory_mb=0.0, served_bytes=0, latency=None),
        replace(FLOAT, memory_mb=math.inf, served_bytes=None, latency=None),
        replace(FLOAT, memory_mb=math.nan, served_bytes=None, latency=None),
    ],
)
def test_no_ratio_holds_to_a_model_that_was_not_measured(who: str, other: Measured) -> None:
    failed = failing(one("int8"), FIGURES, replace(BOTH, **{who: other}))
    assert sorted(c.what for c in failed) == ["memory", "p99", "served bytes"]
    assert all("is not known" in c.reason for c in failed)
    assert all(other.failed in c.reason for c in failed)


def test_a_parent_that_is_missing_fails_all_that_is_relative_to_it() -> None:
    failed = failing(one("int8"), GATES, Others(None, None))
    assert {(c.what, c.slice, c.threshold) for c in failed} == {
        ("auc", "overall", "<= 0.003 below float"),
        ("auc", CASH, "<= 0.01 below float"),
        ("auc", CARD, "<= 0.01 below float"),
        ("p99", "overall", "<= 1.5 x float"),
        ("served bytes", "overall", "<= 1.1 x float"),
    }


def test_without_a_champion_there_is_nothing_to_be_worse_than() -> None:
    assert failing(one("int8"), FIGURES, Others(FLOAT, None)) == []


def test_a_champion_that_no_longer_loads_refuses_what_is_relative_to_it() -> None:
    gone = Measured("champion", failed="it does not load: no saved_model.pb")
    failed = failing(one("int8"), GATES, Others(FLOAT, gone))
    assert {c.threshold for c in failed} == {"<= 0.01 below champion", "<= 1.2 x champion"}
    assert all("no saved_model.pb" in c.reason for c in failed)


def test_without_a_threshold_nothing_passes() -> None:
    check = only(one("int8"), GatesConfig())
    assert "no quality threshold is set" in check.reason


@pytest.mark.parametrize("threshold", [{"min": 0.9}, {"max_drop": 1.0}, {"max_regression": 1.0}])
@pytest.mark.parametrize("name", ["int8", "float"])
@pytest.mark.parametrize("fault", ["nan", "missing", "no rows", "no overall"])
def test_a_metric_that_is_not_known_fails(name: str, threshold: Any, fault: str) -> None:
    candidate = one(name)
    overall = {
        "nan": {"auc": Estimate(math.nan, math.nan, math.nan, 100)},
        "missing": {},
        "no rows": {"auc": Estimate(0.99, 0.9, 1.0, 0)},
    }.get(fault)
    broken = replace(candidate, quality={} if overall is None else {"overall": overall})
    others = replace(BOTH, parent=broken) if name == "float" else BOTH
    config = GatesConfig.model_validate(
        {"quality": {"thresholds": [{"metric": "auc", **threshold}]}}
    )
    assert "auc" in only(broken, config, others).what


def test_the_loss_to_float_is_said_with_its_interval() -> None:
    quality = {"thresholds": [{"metric": "auc", "max_drop": 0.001}]}
    check = only(one("prune_80"), GatesConfig.model_validate({"quality": quality}))
    assert check.reason == (
        "auc 0.9459 is 0.0012 below float's, allowed 0.001 (95 % interval 0.0003..0.0023)"
    )


def test_a_bound_inside_the_interval_is_not_certain() -> None:
    quality = {"thresholds": [{"metric": "auc", "min": 0.9465}]}
    checks = check_all(
        one("int8"), BOTH, GatesConfig.model_validate({"quality": quality}), "binary"
    )
    assert checks[0].passed
    assert checks[0].reason.startswith("not certain: it may be beyond 0.9465 (95 % interval")


def test_lower_is_better_for_a_loss() -> None:
    quality = {"thresholds": [{"metric": "log_loss", "max": 0.5, "max_drop": 0.05}]}
    config = GatesConfig.model_validate({"quality": quality})

    def loss(name: str, value: float) -> Measured:
        return one(name, quality={"overall": {"log_loss": Estimate(value, value, value, 9)}})

    others = Others(loss("float", 0.4), None)
    better, worse = loss("int8", 0.3), loss("int8", 0.6)
    assert failing(better, config, others) == []
    first, second = failing(worse, config, others)
    assert first.reason.startswith("log_loss 0.6 is 0.1 over <= 0.5")
    assert second.reason.startswith("log_loss 0.6 is 0.2 above float's, allowed 0.05")


class TestSlices:
    """`gates.slices`."""

    def test_a_sacrificed_slice_is_refused_by_name(self) -> None:
        check = only(one("distill"), GATES)
        assert (check.slice, check.what) == (CASH, "auc")
        assert why_refused([check])[0].startswith(f"{CASH}: auc 0.792 is 0.039 below float's")

    def test_a_slice_with_few_rows_is_only_reported(self) -> None:
        few = with_auc(one("int8"), SMALL, 0.1, rows=29)
        assert failing(few, GATES) == []
        enough = with_auc(one("int8"), SMALL, 0.1, rows=30)
        assert only(enough, GATES).slice == SMALL

    def test_a_slice_of_one_class_cannot_be_shown_to_hold(self) -> None:
        assert only(with_auc(one("int8"), CASH, math.nan), GATES).slice == CASH

    def test_a_slice_that_only_the_parent_has_is_missed(self) -> None:
        int8 = one("int8")
        quality = {name: found for name, found in int8.quality.items() if name != CARD}
        assert only(replace(int8, quality=quality), GATES).slice == CARD

    def test_a_slicing_without_a_row_is_refused(self) -> None:
        config = gates(slices={"max_drop": 1})
        config.quality.slices.append(["company"])
        check = only(one("int8"), config)
        assert (check.slice, check.threshold) == ("every company", "a row")

    def test_a_budget_without_slices_shows_nothing(self) -> None:
        config = GatesConfig.model_validate(
            {"quality": {"thresholds": [{"metric": "auc", "min": 0}]}, "slices": {"max_drop": 1}}
        )
        assert (
            "names none"
            in only(
                one("int8", quality={"overall": FLOAT.quality["overall"]}),
                config,
                Others(replace(FLOAT, quality={}), None),
            ).reason
        )

    def test_the_float_model_loses_nothing_to_itself(self) -> None:
        assert failing(with_auc(FLOAT, CASH, 0.2), GATES) == []

    def test_a_threshold_may_hold_on_slices(self) -> None:
        quality = {
            "thresholds": [{"metric": "auc", "min": 0.83, "slices": True}],
            "slices": [["payment_type"]],
            "min_slice_examples": 30,
        }
        config = GatesConfig.model_validate({"quality": quality})
        assert failing(one("int8"), config) == []
        assert only(one("prune_80"), config).slice == CASH


@pytest.mark.parametrize(
    ("skew", "reason"),
    [
        (None, "skew was not measured"),
        (Skew(math.nan, 1e-4, detail="it does not run"), "it does not run"),
        (Skew(math.inf, 1e-4), "skew: the answers are not numbers"),
        (
            Skew(0.25, 1e-4, ("the SavedModel", "the server"), 7),
            "skew: the SavedModel and the server differ by 0.25 on row 7",
        ),
        (Skew(0.0, 1e-4, feature="miles_xf", detail="feature miles_xf is 1 and 2"), "miles_xf"),
        # Measured with more tolerance than the config has.
        (Skew(0.01, 1.0, ("the SavedModel", "the server"), 3), "differ by 0.01 on row 3"),
    ],
)
def test_skew_is_refused_whatever_the_config_asks_for(skew: Skew | None, reason: str) -> None:
    check = only(one("int8", skew=skew), gates())
    assert check.what == "skew"
    assert reason in check.reason


def test_the_configs_tolerance_counts() -> None:
    skewed = one("int8", skew=Skew(0.008, 1.0))
    assert failing(skewed, gates(skew={"tolerance": 0.01})) == []
    assert only(skewed, gates(skew={"tolerance": 0.005})).threshold == "<= 0.005"


@pytest.mark.parametrize(
    ("objective", "blank"),
    [
        ("smallest", {"served_bytes": None}),
        ("smallest", {"served_bytes": 0}),
        (None, {"served_bytes": None}),
        ("fastest", {"latency": None}),
        ("fastest", {"latency": replace(one("int8").latency, p50_ratio=math.nan)}),  # type: ignore[type-var]
    ],
)
def test_what_the_objective_compares_is_known(objective: str | None, blank: Any) -> None:
    config = gates(objective=objective)
    assert failing(one("int8"), config) == []
    assert "the objective is" in only(one("int8", **blank), config).reason


def test_the_worst_is_said_first_and_overall_before_slices() -> None:
    def check(name: str, margin: float | None) -> Check:
        return Check("auc", name, "", None, margin, None, False, f"{name} {margin}")

    checks = [
        check("a=1", -9.0),
        check("overall", -0.1),
        check("overall", -0.2),
        check("overall", None),
        check("a=1", 1.0),
    ]
    assert why_refused(checks) == [
        "overall None",
        "overall -0.2",
        "overall -0.1",
        "a=1: a=1 -9.0",
        "a=1: a=1 1.0",
    ]


FIGURE = st.floats(0, 1e9) | st.sampled_from([None, math.nan, math.inf, -math.inf, -1.0])
INT8 = one("int8")


@settings(max_examples=100, deadline=None)
@given(
    limit=st.floats(1e-3, 1e3),
    value=FIGURE,
    parent=FIGURE,
)
def test_a_ratio_holds_only_if_both_are_known_and_it_is_below(
    limit: float, value: float | None, parent: float | None
) -> None:
    config = gates(memory_mb={"max_ratio": limit})
    others = Others(replace(FLOAT, memory_mb=parent), None)
    failed = failing(replace(INT8, memory_mb=value), config, others)
    known = all(x is not None and 0 <= x < math.inf for x in (value, parent))
    holds = known and parent > 0 and value / parent <= limit  # type: ignore[operator]
    assert (failed == []) == holds
