"""The verdict on the terminal: what is there, and that it fits into every width."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.gates.serving.verdicts import GATES, LADDER, example, labels, measured, one
from tfx_pipeline.gates.serving import figures
from tfx_pipeline.gates.serving.flips import Flip, Flips
from tfx_pipeline.gates.serving.measured import Estimate, Measured, Skew
from tfx_pipeline.gates.serving.render import render
from tfx_pipeline.gates.serving.verdict import ServingVerdict, judge

EXAMPLE = example()


def lines(verdict: ServingVerdict = EXAMPLE, width: int = 80) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(render(verdict))
    return out.getvalue().splitlines()


def line_of(start: str, verdict: ServingVerdict = EXAMPLE, width: int = 80) -> str:
    return next(line for line in lines(verdict, width) if line.startswith(start))


def changed_rows(verdict: ServingVerdict, **fields: Any) -> ServingVerdict:
    return replace(verdict, rows=[replace(row, **fields) for row in verdict.rows])


def test_all_of_it_fits_into_one_screen_of_80_columns() -> None:
    shown = lines()
    assert shown[0] == "serving gate: blessed. int8 ships: the smallest of 5 that pass, of 7"
    assert max(map(len, shown)) <= 80
    assert len(shown) <= 45


def test_a_row_has_every_figure() -> None:
    head = next(line for line in lines() if "candidate" in line)
    assert head.split() == [
        "candidate", "auc", "to", "float", "served", "size", "gzip", "p50", "p99", "MB"
    ]  # fmt: skip
    assert line_of("b int8").split() == [
        "b", "int8", "0.9468", "±0.0050", "-0.0003", "247", "kB", "0.26", "0.76", "0.91", "0.96",
        "29", "ships",
    ]  # fmt: skip


def test_each_candidate_has_its_word() -> None:
    words = [line_of(f"{key} ").split()[-2:] for key in "abcdefgh"]
    last = [" ".join(pair) if pair[0] in ("not", "in") else pair[1] for pair in words]
    assert last == [
        "passes", "ships", "passes", "passes", "passes", "refused", "not made", "in use"
    ]  # fmt: skip


def test_what_is_refused_says_why_below() -> None:
    shown = lines(width=120)
    for start, reason in (
        ("f  distill", "    payment_type=Cash: auc 0.792 is 0.039 below float's, allowed 0.01"),
        ("g  int16x8", "    the converter does not know int16x8 for GATHER"),
    ):
        number = next(n for n, line in enumerate(shown) if line.startswith(start))
        assert shown[number + 1].startswith(reason)


def test_budgets_say_whom_they_refuse_and_by_how_much() -> None:
    changed = {
        "int8": one("int8", served_bytes=1_100_000, memory_mb=250.0),
        "qat": one("qat", served_bytes=1_200_000),
        "prune_80": one("prune_80", skew=Skew(0.0, 1e-4, feature="fare_xf", detail="fare_xf")),
    }
    text = lines(example(changed=changed), 200)
    assert "served bytes <= 1.1 x float refuses int8 by 0.06, qat by 0.17" in text
    assert "memory <= 200 MB refuses int8 by 50 MB" in text
    assert "skew <= 0.0001 refuses prune_80 (a feature differs)" in text
    unknown = lines(example(changed={"qat": one("qat", latency=None)}), 200)
    assert "p99 <= 20 ms refuses qat (not known)" in unknown


def test_what_there_is_no_room_for_is_counted() -> None:
    faulty = {
        m.name: replace(m, latency=None, memory_mb=None, served_bytes=None, skew=None, quality={})
        for m in measured()
        if not m.failed
    }
    shown = lines(example(changed=faulty))
    more = next(line for line in shown if line.startswith("and "))
    assert more.endswith("more budgets that refuse; verdict.json has them all")
    assert len(shown) < 60


def test_the_same_reason_for_no_gain_is_said_once() -> None:
    reason = "no gain on this server, because a SavedModel stores floats"
    rows = [
        replace(row, no_gain="" if n == 0 else f"{reason} (gzipped it is 0.{n} of float)")
        for n, row in enumerate(EXAMPLE.rows)
    ]
    found = [line for line in lines(replace(EXAMPLE, rows=rows), 200) if reason in line]
    assert found == [f"int8, qat, prune_80, prune_80_int8, distill and 1 more: {reason}"]


def test_rows_that_flipped() -> None:
    shown = lines()
    head = "7 of 3,000 rows change class from float to int8 (row: before > after, truth)"
    number = shown.index(head)
    flip = EXAMPLE.rows[1].flips.top[0]
    first = f"  {flip.row}: {flip.before:.3f} > {flip.after:.3f}, {flip.label:.0f}"
    assert shown[number + 1].startswith(first)


@pytest.mark.parametrize(
    ("task", "flip", "text"),
    [
        ("multiclass", Flip(5, 2, 7, -0.5, 7), "  5: 2 > 7, 7"),
        ("regression", Flip(5, 12.345, 1.5, -10, 11.25), "  5: 12.35 > 1.5, 11.25"),
        ("binary", Flip(5, 0.4, math.nan, math.nan), "  5: 0.400 > NaN"),
        ("multilabel", Flip(5, 0.4, 0.6, 0.2, 1.0, 3), "  5[3]: 0.400 > 0.600, 1"),
        ("quantile", Flip(5, 12.345, 1.5, -10, 11.25, 0), "  5[0]: 12.35 > 1.5, 11.25"),
    ],
)
def test_flips_are_shown_in_the_tasks_figures(task: str, flip: Flip, text: str) -> None:
    changed = replace(changed_rows(EXAMPLE, flips=Flips(1, 100, [flip])), task=task)
    assert text in lines(changed)
    head = next(line for line in lines(changed, 120) if line.startswith("1 of 100 rows"))
    value = task in ("regression", "quantile")
    assert ("move by over 1 % of the spread" if value else "change class") in head
    assert ("row[" in head) == (flip.output is not None)
    assert ServingVerdict.from_json(changed.to_json()).rows[0].flips.top[0].output == flip.output


def test_where_nothing_flipped() -> None:
    verdict = changed_rows(EXAMPLE, flips=Flips(0, 3000, []))
    assert "0 of 3,000 rows change class from float to int8" in lines(verdict)


def test_the_plot_has_every_measured_model_and_marks_what_ships() -> None:
    shown = lines()
    plot = [line for line in shown if "|" in line]
    halves = [[line[:40] for line in plot], [line[40:] for line in plot]]
    for half in halves:
        letters = "".join(character for line in half for character in line.split("|")[1])
        assert sorted(letters.lower().replace(" ", "")) == sorted("[]abcdefh")  # g is not made
        assert "[B]" in letters
        assert "A" in letters  # float is on the front, as no other is as good
        assert "C" not in letters
    assert halves[0][0].startswith("0.9471 |")
    assert shown[-1] == "capitals: on the Pareto front of what passes; [B] ships"


def test_points_in_one_place_stand_beside_each_other() -> None:
    alike = {name: one("int8", name=name) for name in ("qat", "prune_80", "prune_80_int8")}
    plot = "".join(line[:40] for line in lines(example(changed=alike)) if "|" in line)
    assert all(letter in plot for letter in ("[B]", "C", "D", "E"))


def test_less_is_better_for_a_loss_and_still_up() -> None:
    def loss(name: str, value: float) -> Measured:
        quality = {"overall": {"log_loss": Estimate(value, value, value, 9)}}
        return one(name, quality=quality, to_float={}, to_champion={})

    gates = GATES.model_validate({"quality": {"thresholds": [{"metric": "log_loss", "max": 1}]}})
    found = [loss("float", 0.2), loss("int8", 0.3)]
    shown = lines(judge(found, LADDER[:2], gates, task="binary", labels=labels()))
    assert next(line for line in shown if "|" in line).startswith("0.2000 |")


def test_a_refused_verdict() -> None:
    shown = lines(judge([], LADDER, GATES, task="binary"))
    assert shown[0] == "serving gate: refused. none of 7 candidates stays inside the budgets"
    assert not any("|" in line for line in shown)
    assert lines(judge([], [], GATES, task="binary")) == [
        "serving gate: refused. there is no candidate"
    ]


def test_a_champion_that_no_longer_loads_is_a_row() -> None:
    gone = example(changed={"champion": Measured("champion", failed="it does not load: damaged")})
    shown = lines(gone)
    number = next(n for n, line in enumerate(shown) if line.startswith("h champion"))
    assert shown[number].endswith("failed")
    assert shown[number + 1] == "    it does not load: damaged"


def test_markup_in_names_and_reasons_is_text() -> None:
    rows = [*EXAMPLE.rows[:5], replace(EXAMPLE.rows[5], reasons=["[red]company[/]=[bold]x"])]
    assert "    [red]company[/]=[bold]x" in lines(replace(EXAMPLE, rows=rows))


@settings(max_examples=60, deadline=None)
@given(width=st.integers(12, 220), longest=st.integers(1, 60))
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width: int, longest: int) -> None:
    rows = [
        replace(row, candidate=replace(row.candidate, name=f"{n}" + "x" * longest))
        for n, row in enumerate(EXAMPLE.rows)
    ]
    shown = lines(replace(EXAMPLE, rows=rows, winner=rows[1].candidate.name), width)
    assert max(map(len, shown)) <= width
    if width >= 30:
        assert any(line.startswith("b") and line.endswith("ships") for line in shown)
        assert any(line.startswith("f") and line.endswith("refused") for line in shown)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1536, "1.54 kB"), (246_992, "247 kB"),
     (999_600, "1 MB"), (12_345_678, "12 MB"), (None, "-"), (math.nan, "-")],
)  # fmt: skip
def test_sizes(count: float | None, text: str) -> None:
    assert figures.size(count) == text


def test_figures() -> None:
    assert [figures.difference(x) for x in (0.01, -0.01, -0.00001, 0.0, None, math.nan)] == [
        "+0.0100", "-0.0100", "0.0000", "0.0000", "-", "-"
    ]  # fmt: skip
    assert [figures.ratio(x) for x in (0.256, 1234.5, None, math.inf)] == ["0.26", "1234", "-", "-"]
    assert figures.metric(123.456) == "123.5"
    assert figures.quotient(1, 0) is figures.quotient(None, 1) is None
