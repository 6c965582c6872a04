"""The Pareto front, and the plot of it."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.gates.serving.verdicts import GATES, LADDER, example, labels, measured, one
from tfx_pipeline.gates.serving.bounds import quality_bound, size_bound
from tfx_pipeline.gates.serving.front import Point, front, front_of, points
from tfx_pipeline.gates.serving.labels import Box, place
from tfx_pipeline.gates.serving.measured import Measured
from tfx_pipeline.gates.serving.pareto import write_pareto
from tfx_pipeline.gates.serving.verdict import ServingVerdict, judge

EXAMPLE = example()


def test_the_front_is_what_nothing_dominates() -> None:
    costs = {"a": (1.0, 5.0), "b": (2.0, 2.0), "c": (2.0, 3.0), "d": (5.0, 1.0), "e": (5.0, 1.0),
             "f": (6.0, 1.0), "g": (math.nan, 0.0), "h": (0.0, math.inf)}  # fmt: skip
    assert front(costs) == {"a", "b", "d", "e"}
    assert front({}) == set()


NUMBER = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=12))
def test_everything_off_the_front_is_dominated_by_something_on_it(
    pairs: list[tuple[float, float]],
) -> None:
    costs = {str(number): pair for number, pair in enumerate(pairs)}
    found = front(costs)
    assert found
    for one_name, other in itertools.permutations(found, 2):
        (a, b), (x, y) = costs[one_name], costs[other]
        assert (a, b) == (x, y) or (a < x) != (b < y)
    for name in set(costs) - found:
        x, y = costs[name]
        assert any(a <= x and b <= y and (a, b) != (x, y) for a, b in map(costs.get, found))


def test_points_are_what_was_measured() -> None:
    found = {point.name: point for point in points(EXAMPLE, "size")}
    assert list(found) == ["float", "int8", "qat", "prune_80", "prune_80_int8", "distill",
                           "champion"]  # fmt: skip
    assert [found[n].kind for n in ("float", "int8", "distill", "champion")] == [
        "passes", "ships", "refused", "champion"
    ]  # fmt: skip
    int8 = found["int8"]
    assert (int8.cost, int8.quality) == (246_992, 0.9468)
    # The interval is that of the difference, around the float model's own value.
    assert int8.low == pytest.approx(0.9468 - 0.0011)
    assert int8.high == pytest.approx(0.9468 + 0.0009)
    assert math.isnan(found["float"].low)
    assert {p.name: p.cost for p in points(EXAMPLE, "latency")}["qat"] == 0.93


def test_what_is_not_known_is_no_point() -> None:
    changed = {
        "int8": one("int8", served_bytes=None),
        "qat": one("qat", quality={}),
        "prune_80": one("prune_80", failed="it hangs"),
        "distill": one("distill", served_bytes=0),
    }
    names = [point.name for point in points(example(changed=changed), "size")]
    assert names == ["float", "prune_80_int8", "champion"]


def test_the_front_is_of_what_may_ship() -> None:
    found = points(EXAMPLE, "size")
    assert front_of(found) == {"int8", "float"}  # distill is smaller, and refused
    refused = [replace(point, kind="refused") for point in found if point.kind != "champion"]
    assert front_of(refused) == {"distill", "int8", "float"}
    assert front_of([found[-1]]) == set()


def test_bounds_are_read_back_from_the_checks() -> None:
    assert quality_bound(EXAMPLE) == pytest.approx(0.9471 - 0.003)  # tighter than 0.9
    assert size_bound(EXAMPLE) == pytest.approx(1.1 * 948_224)  # tighter than 1.2 champions
    absolute = GATES.model_validate(
        {
            "quality": {"thresholds": [{"metric": "log_loss", "max": 0.5}]},
            "size_bytes": {"max": 300_000},
        }
    )
    verdict = example(absolute)
    assert quality_bound(verdict) is None  # log_loss was not measured
    assert size_bound(verdict) == pytest.approx(300_000)
    too_good = {"quality": {"thresholds": [{"metric": "auc", "min": 0.9, "max": 0.99}]}}
    assert quality_bound(example(GATES.model_validate(too_good))) == pytest.approx(0.9)
    gzip = GATES.model_validate({"size_bytes": {"max": 300_000, "of": "gzip"}})
    assert size_bound(example(gzip)) is None


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)


def share(path: Path, colour: str) -> int:
    """Pixels of about a colour."""
    wanted = [int(colour[start : start + 2], 16) for start in (0, 2, 4)]
    return int((np.abs(pixels(path) - wanted).max(axis=1) < 8).sum())


@pytest.mark.slow
def test_the_plot_has_a_mark_for_each_kind(tmp_path: Path) -> None:
    write_pareto(EXAMPLE, tmp_path / "p.png")
    colours = {"ships": "009E73", "passes": "0072B2", "refused": "D55E00", "champion": "8C8C8C"}
    for kind, colour in colours.items():
        assert share(tmp_path / "p.png", colour) > 100, kind
    assert share(tmp_path / "p.png", "F3EDE6") > 10_000  # what the budgets refuse
    nothing = judge([], LADDER, GATES, task="binary")
    write_pareto(nothing, tmp_path / "none.png")
    for kind in ("ships", "passes", "refused"):
        assert share(tmp_path / "none.png", colours[kind]) == 0


def alone(**changes: object) -> ServingVerdict:
    found = [m for m in measured() if m.name in ("float", "int8")]
    changed = [replace(m, **changes) for m in found]  # type: ignore[arg-type]
    return judge(changed, LADDER[:2], GATES, task="binary", labels=labels())


@pytest.mark.slow
@pytest.mark.parametrize(
    "verdict",
    [
        judge([one("float")], LADDER[:1], GATES, task="binary"),
        judge([], [], GATES, task="binary"),
        alone(served_bytes=1000),  # no range at all
        alone(served_bytes=None),
        alone(latency=None),
        example(changed={"champion": Measured("champion", failed="it does not load")}),
        replace(EXAMPLE, reason="$x_1^{$ ships", winner="int8"),  # no mathematics
    ],
)
def test_a_plot_of_next_to_nothing(verdict: ServingVerdict, tmp_path: Path) -> None:
    write_pareto(verdict, tmp_path / "p.png")
    assert len(pixels(tmp_path / "p.png")) > 100_000


def test_names_lie_on_no_other_name(tmp_path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    generator = np.random.default_rng(4)
    found = [
        Point(f"candidate_{n}", "ships" if n == 7 else "passes", x, y, -y)
        for n, (x, y) in enumerate(generator.random((14, 2)).tolist())
    ]
    found += [replace(found[0], name="twin"), replace(found[0], name="other_twin")]
    figure = Figure(figsize=(6, 4), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.scatter([p.cost for p in found], [p.quality for p in found])
    canvas.draw()
    boxes = place(axes, found)
    assert len(boxes) == len(found)
    extents = [Text.get_window_extent(text) for text in axes.texts]  # without lines
    for one_box, other in itertools.combinations(extents, 2):
        assert not one_box.overlaps(other)
    assert Box(0, 0, 2, 2).overlap(Box(1, 1, 3, 3)) == 1
    assert Box(0, 0, 2, 2).outside(Box(1, 0, 3, 3)) == 2


@pytest.mark.slow
def test_matplotlib_is_loaded_for_a_plot_alone_and_leaves_home_and_terminal_alone(
    tmp_path: Path, repo: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script = f"""
import sys
from pathlib import Path
from tests.gates.serving.verdicts import example
from tfx_pipeline.gates.serving import pareto, render
assert "matplotlib" not in sys.modules
assert "tensorflow" not in sys.modules
pareto.write_pareto(example(), Path({str(tmp_path / "p.png")!r}))
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(repo)}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=repo
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert (tmp_path / "p.png").stat().st_size > 10_000
    assert list(home.iterdir()) == []
