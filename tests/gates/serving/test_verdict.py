"""`judge`, and the verdict as a file: nothing that failed is ever blessed, or read as such."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gates.serving.verdicts import CASH, GATES, LADDER, ROWS, example, labels, measured, one
from tfx_pipeline.config.gates import GatesConfig
from tfx_pipeline.gates.serving.judged import Judged
from tfx_pipeline.gates.serving.measured import Estimate, Latency, Measured, Skew
from tfx_pipeline.gates.serving.verdict import (
    ServingVerdict,
    judge,
    read_serving_verdict,
    write_serving_verdict,
)
from tfx_pipeline.gates.verdict import Verdict, write_verdict

NAN = math.nan
DEAD = "the model server was ended by SIGSEGV"


def row(verdict: ServingVerdict, name: str) -> Judged:
    return next(row for row in verdict.rows if row.candidate.name == name)


def test_the_example() -> None:
    verdict = example()
    assert (verdict.blessed, verdict.winner, verdict.metric) == (True, "int8", "auc")
    assert verdict.reason == "int8 ships: the smallest of 5 that pass, of 7"
    assert [r.candidate.name for r in verdict.rows] == [c.name for c in LADDER]
    refused = {r.candidate.name: r.reasons for r in verdict.rows if not r.passed}
    assert list(refused) == ["distill", "int16x8"]
    assert refused["distill"][0].startswith(f"{CASH}: auc 0.792 is 0.039 below float's")
    assert refused["int16x8"][0].startswith("not made: the converter does not know")
    assert verdict.champion is not None
    assert verdict.champion.quality["overall"]["auc"].value == 0.9448
    assert all(r.measured is None or not r.measured.predictions for r in verdict.rows)
    assert not verdict.champion.predictions


def test_flips_are_those_of_what_ships() -> None:
    verdict = example()
    shown = verdict.shown
    assert shown is not None
    assert shown.candidate.name == "int8"
    assert shown.flips.rows == ROWS
    assert 0 < shown.flips.count == len(shown.flips.top)
    for flip in shown.flips.top:
        assert flip.label == labels()[flip.row]
        assert (flip.before > 0.5) != (flip.after > 0.5)


def test_where_float_ships_the_smallest_compressed_ones_flips_are_shown() -> None:
    verdict = example(GATES.model_copy(update={"objective": "most_accurate"}))
    assert verdict.winner == "float"
    assert verdict.shown is not None
    assert verdict.shown.candidate.name == "distill"


def test_a_budget_that_nothing_can_meet_refuses_all() -> None:
    gates = GATES.model_copy(update={"memory_mb": GATES.memory_mb and type(GATES.memory_mb)(max=1)})
    verdict = example(gates)
    assert (verdict.blessed, verdict.winner) == (False, "")
    assert verdict.reason == "none of 7 candidates stays inside the budgets"
    assert all(r.reasons for r in verdict.rows)


FAULTS: dict[str, dict[str, Any]] = {
    "dead": {"failed": DEAD, "quality": {}, "latency": None, "predictions": []},
    "NaN": {"quality": {"overall": {"auc": Estimate(NAN, NAN, NAN, ROWS)}}},
    "slow": {"latency": Latency(1.0, 2.0, 50.0, 1.0, 1.0)},
    "slower": {"latency": Latency(1.0, 2.0, 3.0, 1.6, 1.0)},
    "large": {"served_bytes": 2_000_000},
    "hungry": {"memory_mb": 201.0},
    "skewed": {"skew": Skew(0.5, 1e-4, ("the SavedModel", "the server"), 3, "fare_xf", "fare")},
    "not proven": {"skew": None},
    "of other rows": {"predictions": [0.5] * (ROWS - 1)},
    "of another task": {"predictions": [[0.5, 0.5]] * ROWS},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_best_candidate_leaves_it_to_the_next(fault: str) -> None:
    verdict = example(changed={"int8": one("int8", **FAULTS[fault])})
    assert row(verdict, "int8").reasons
    assert verdict.winner == "prune_80_int8"


def test_a_candidate_that_could_not_be_measured_has_one_reason() -> None:
    dead = row(example(changed={"int8": one("int8", **FAULTS["dead"])}), "int8")
    assert (dead.reasons, dead.checks, dead.no_gain) == ([DEAD], [], "")


RELATIVE = {"slower", "of other rows", "of another task"}


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - RELATIVE))
def test_a_fault_of_every_model_blesses_none(fault: str) -> None:
    changed = {c.name: one(c.name, **FAULTS[fault]) for c in LADDER if not c.failed}
    verdict = example(changed=changed)
    assert (verdict.blessed, verdict.winner) == (False, "")


@pytest.mark.parametrize("fault", sorted(RELATIVE))
def test_what_only_compressed_candidates_can_get_wrong_leaves_float(fault: str) -> None:
    changed = {c.name: one(c.name, **FAULTS[fault]) for c in LADDER[1:] if not c.failed}
    assert example(changed=changed).winner == "float"


def test_a_float_model_that_was_not_measured_takes_what_is_relative_to_it_along() -> None:
    verdict = example(changed={"float": one("float", **FAULTS["dead"])})
    assert not verdict.blessed
    for candidate in verdict.rows[1:-1]:
        assert any(DEAD in reason for reason in candidate.reasons)
    assert verdict.shown is None


def test_a_champion_that_no_longer_loads_is_a_reason_and_no_blessing() -> None:
    gone = Measured("champion", failed="it does not load: damaged")
    verdict = example(changed={"champion": gone})
    assert not verdict.blessed
    assert verdict.champion == gone
    assert all("damaged" in " ".join(r.reasons) for r in verdict.rows if not r.candidate.failed)


def test_what_was_not_measured_at_all_is_refused() -> None:
    found = [m for m in measured() if m.name != "qat"]
    verdict = judge(found, LADDER, GATES, task="binary", labels=labels())
    assert row(verdict, "qat").reasons == ["it was not measured"]
    nothing = judge([], LADDER, GATES, task="binary")
    assert not nothing.blessed
    assert not judge([], [], GATES, task="binary").blessed
    assert not judge(measured(), LADDER, GatesConfig(), task="binary").blessed


def test_one_candidate_alone() -> None:
    refused = judge([], LADDER[:1], GATES, task="binary")
    assert refused.reason == "float is refused: it was not measured"
    alone = [m for m in measured() if m.name in ("float", "champion")]
    assert judge(alone, LADDER[:1], GATES, task="binary").reason == (
        "float ships: the only one that passes"
    )


# --- as a file ---


def test_what_is_written_is_read(tmp_path: Path) -> None:
    verdict = example()
    path = write_serving_verdict(verdict, str(tmp_path / "new"))
    assert Path(path).name == "verdict.json"
    assert read_serving_verdict(str(tmp_path / "new")) == verdict
    assert read_serving_verdict(str(tmp_path)) is None
    assert read_serving_verdict(f"file://{tmp_path}/new") == verdict


def test_nan_stays_nan_where_a_number_must_be() -> None:
    verdict = example()
    first = verdict.rows[0]
    candidate = replace(first.candidate, effects={"sparsity": NAN, "parameters": 7.0})
    changed = replace(verdict, rows=[replace(first, candidate=candidate), *verdict.rows[1:]])
    effects = ServingVerdict.from_json(changed.to_json()).rows[0].candidate.effects
    assert math.isnan(effects["sparsity"])
    assert effects["parameters"] == 7


@pytest.mark.parametrize(
    "change",
    [
        {"blessed": False},
        {"blessed": "yes"},
        {"blessed": 1},
        {"winner": ""},
        {"winner": "distill"},
        {"winner": "int16x8"},
        {"winner": "champion"},
        {"gate": "quality"},
        {"rows": []},
        {"rows": [3]},
        {"rows": None},
        {"more": 1},
    ],
)
def test_a_file_that_contradicts_itself_is_no_verdict(change: dict[str, Any]) -> None:
    fields = json.loads(example().to_json())
    with pytest.raises(ValueError, match="not a serving verdict"):
        ServingVerdict.from_json(json.dumps({**fields, **change}))


@pytest.mark.parametrize("text", ["", "{", "3", "[]", "{}", "null"])
def test_what_is_no_verdict(text: str) -> None:
    with pytest.raises(ValueError):
        ServingVerdict.from_json(text)


def test_another_gates_verdict_is_none_of_ours(tmp_path: Path) -> None:
    write_verdict(Verdict("quality", False), str(tmp_path))
    with pytest.raises(ValueError):
        read_serving_verdict(str(tmp_path))


def test_a_failed_check_in_a_file_unmakes_the_winner() -> None:
    fields = json.loads(example().to_json())
    fields["rows"][1]["checks"][0]["passed"] = False
    with pytest.raises(ValueError, match="not a serving verdict"):
        ServingVerdict.from_json(json.dumps(fields))


FIGURE = st.floats(0, 1e7) | st.sampled_from([NAN, math.inf, 0.0])
ESTIMATE = st.builds(Estimate, st.floats(0, 1) | st.just(NAN), FIGURE, FIGURE, st.integers(0, 3000))
LATENCY = st.builds(Latency, FIGURE, FIGURE, FIGURE, FIGURE, FIGURE, st.none() | st.floats(0, 9))
SKEW = st.builds(
    Skew,
    st.floats(0, 1e-3) | st.sampled_from([NAN, math.inf]),
    st.just(1e-4),
    row=st.none() | st.integers(0, 9),
    feature=st.sampled_from(["", "fare_xf"]),
)


GOOD = {found.name: found for found in measured()}


@st.composite
def anything_measured(draw: st.DrawFn, name: str) -> Measured:
    """A candidate that is good but for some fields, which are anything."""
    good = GOOD[name]
    faults: dict[str, Any] = {
        "failed": st.just(DEAD),
        "quality": st.dictionaries(
            st.sampled_from(["overall", *good.quality]),
            st.dictionaries(st.just("auc"), ESTIMATE),
        ),
        "latency": st.none() | LATENCY,
        "memory_mb": st.none() | FIGURE,
        "served_bytes": st.none() | st.integers(0, 2_000_000),
        "skew": st.none() | SKEW,
        "predictions": st.lists(st.floats(0, 1) | st.just(NAN), max_size=3),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(faults)), max_size=2))
    return replace(good, **{field: draw(faults[field]) for field in chosen})


@settings(max_examples=60, deadline=None)
@given(st.tuples(*(anything_measured(m.name) for m in GOOD.values() if not m.failed)))
def test_no_verdict_blesses_what_failed_and_every_verdict_survives_json(
    found: tuple[Measured, ...],
) -> None:
    verdict = judge(found, LADDER, GATES, task="binary")
    assert verdict.blessed is bool(verdict.winner)
    if verdict.blessed:
        winner = row(verdict, verdict.winner)
        assert winner.passed
        assert winner.reasons == []
        assert winner.checks
        assert all(check.passed for check in winner.checks)
        assert winner.measured is not None
        assert not winner.measured.failed
        auc = winner.measured.quality["overall"]["auc"].value
        assert auc >= 0.9
        assert winner.measured.skew is not None
        assert winner.measured.skew.max_difference <= 1e-4
    for refused in verdict.rows:
        assert refused.passed or all(refused.reasons)
    text = verdict.to_json()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    again = ServingVerdict.from_json(text)
    assert again.to_json() == text
    assert (again.blessed, again.winner) == (verdict.blessed, verdict.winner)
    assert [r.passed for r in again.rows] == [r.passed for r in verdict.rows]
    for one_row in again.rows:
        latency = one_row.measured and one_row.measured.latency
        assert not latency or isinstance(latency.p99_ratio, float)
