"""`assay runs`, `show` and `diff`: nothing that one copies from them is cut."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.e2e.project import assay
from tests.runners.conftest import YAML
from tfx_pipeline.cli import tables
from tfx_pipeline.errors import ConfigError
from tfx_pipeline.report import record as records
from tfx_pipeline.report.record import ArtifactRecord, NodeRecord, RunRecord

IDS = ["20261124-025040-a0f1", "20261124-025041-b0f2", "20261124-025042-c0f3"]
NOTE = "3 files, 900 rows; 2 rows rejected, see a file of a long name: " + "x" * 60
DEEP = "gates.quality.thresholds.payment_type.max_regression_of_the_slice"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(YAML)
    return tmp_path


def ran(folder: Path, run_id: str, steps: int) -> str:
    """A run's record, and the long path of an artifact of it."""
    root = folder / "runs"
    uri = f"{root}/artifacts/Transform/{'transformed_examples_of_a_long_name/' * 4}{run_id}"
    node = NodeRecord(
        state="complete",
        note=NOTE,
        artifacts={"out": [ArtifactRecord(type="Examples", uri=uri, id=1)]},
    )
    record = RunRecord(
        run_id=run_id,
        pipeline="doubles",
        state="interrupted",
        started=records.now(),
        seconds=1234.5,
        metrics={"auc": 0.95, "accuracy": 0.91},
        data_digest="0123456789abcdef",
        pushed_to="/models/doubles/1764000000",
        nodes={"Transform": node, "Evaluator": NodeRecord(state="complete", outcome="refused")},
    )
    records.save(record, root)
    text = DEEP.replace(".", ": {") + f": {steps}" + "}" * DEEP.count(".") + "\n"
    (root / run_id / records.CONFIG_FILE).write_text(text)
    return uri.removeprefix(f"{root}/")


def test_a_pipe_gets_whole_lines(folder: Path) -> None:
    paths = [ran(folder, run_id, steps) for steps, run_id in enumerate(IDS)]
    listed = assay("runs", "-c", str(folder))
    assert [line.split()[0] for line in listed.lines] == ["run", *IDS]
    shown = assay("show", "-c", str(folder))
    assert paths[-1] in shown.terminal
    assert "refused" in shown.terminal
    assert f"  Transform  {NOTE}" in shown.lines, "what the run's display said of a node"


def test_diff_takes_the_last_two_runs(folder: Path) -> None:
    ran(folder, IDS[0], 7)
    alone = assay("diff", "-c", str(folder))
    assert alone.code == ConfigError.exit_code
    assert "two runs are needed, and there is one" in alone.terminal
    assert f"`assay run {folder}`" in alone.terminal
    ran(folder, IDS[1], 8)
    ran(folder, IDS[2], 9)
    head, *rest = assay("diff", "-c", str(folder)).lines
    assert head.split() == ["key", *IDS[1:]]
    assert [line.split() for line in rest] == [["config", DEEP, "8", "9"]]
    head, *rest = assay("diff", IDS[0], "-c", str(folder)).lines
    assert head.split() == ["key", IDS[0], IDS[2]]
    assert [line.split() for line in rest] == [["config", DEEP, "7", "9"]]


@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_terminal_folds_what_is_not_copied(width: int) -> None:
    out = io.StringIO()
    made = tables.table("run", "state", "note", whole=["run"])
    made.add_row(IDS[0], "interrupted", "a long note that has to be folded " * 4)
    tables.show(Console(file=out, width=width, force_terminal=True, color_system=None), made)
    lines = out.getvalue().splitlines()
    assert lines[1].startswith(f"{IDS[0]}  interrupted  a long note")
    assert max(map(len, lines)) <= width


def test_a_whole_column_is_not_cut_by_any_terminal() -> None:
    out = io.StringIO()
    path = "/a/long/path" * 12
    made = tables.table("node", "artifacts", whole=["artifacts"])
    made.add_row("Transform", path)
    tables.show(Console(file=out, width=40, force_terminal=True, color_system=None), made)
    assert out.getvalue().splitlines()[1] == f"Transform {path}"


def test_all_columns_of_the_runs_fit_into_80(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps, run_id in enumerate(IDS):
        ran(folder, run_id, steps)
    monkeypatch.setattr(tables, "output_console", lambda: Console(width=80))
    listed = assay("runs", "-c", str(folder))
    assert len(listed.lines) == 1 + len(IDS)
    assert max(map(len, listed.lines)) <= 80
    assert listed.lines[1].split() == [
        IDS[0], "interrupted", "1234.5", "0.9500", "0.9100", "01234567", "1764000000",
    ]  # fmt: skip


def test_diff_fits_into_80_and_folds_long_values(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for steps, run_id in enumerate(IDS):
        ran(folder, run_id, steps)
    (folder / "runs" / IDS[2] / records.CONFIG_FILE).write_text(f"data: {{path: {'/long' * 30}}}\n")
    monkeypatch.setattr(tables, "output_console", lambda: Console(width=80))
    lines = assay("diff", "-c", str(folder)).lines
    assert max(map(len, lines)) <= 80
    assert all(run_id in lines[0] for run_id in IDS[1:])
    after = lines[0].index(IDS[2])
    assert "".join(line[after:].strip(" -") for line in lines[1:]) == "/long" * 30


def test_a_long_key_is_broken_behind_its_parts() -> None:
    assert tables.fold_key("train.steps", 26) == "train.steps"
    assert tables.fold_key(DEEP, 30) == (
        "gates.quality.thresholds\n  .payment_type\n  .max_regression_of_the_slice"
    )
