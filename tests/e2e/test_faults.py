"""`kill -9`, Ctrl-C and a full disk in the real pipeline, each followed by `--resume`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.lineage import lineage
from tests.e2e.processes import Template, has_begun, template, wait_for
from tests.e2e.project import Project, Result, make_project, states, weights
from tfx_pipeline.errors import INTERRUPTED_EXIT_CODE, StorageError
from tfx_pipeline.report.record import RunRecord

# Seconds into the node, a fraction of what those that must be hit take on a quick machine.
KILLED_IN = {
    "ExampleGen": 0.05,
    "StatisticsGen": 0.2,
    "SchemaGen": 0.0,
    "ExampleValidator": 0.0,
    "DataGate": 0.0,
    "Transform": 1.0,
    "Trainer": 0.4,
    "Evaluator": 0.2,
    "Pusher": 0.01,
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Template]:
    with template(tmp_path_factory.mktemp("processes"), repo) as found:
        yield found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_in_every_node_and_resumed_it_ends_as_an_undisturbed_run(
    processes: Template,
    rows: Path,
    tmp_path: Path,
    first: tuple[Project, Result],
    first_run: RunRecord,
) -> None:
    project = make_project(tmp_path / "killed", rows)
    root = project.config.root
    words = ["run", str(project.folder)]
    hit = []
    for node, seconds in KILLED_IN.items():
        started = processes.start(*words)
        wait_for(lambda node=node: has_begun(root, node))
        time.sleep(seconds)
        code = started.kill()
        assert_nothing_half_written(project)
        if code == 0:
            assert node == "Pusher"  # The last one, and quicker than the signal.
            break
        assert code == -signal.SIGKILL, (node, started.terminal)
        assert project.latest.state == "interrupted"
        if project.latest.nodes[node].state == "running":
            hit.append(node)
        words = ["run", "--resume", str(project.folder)]
    else:
        resumed = processes.start(*words)
        assert resumed.wait() == 0, resumed.terminal
    # The short ones may be over before the signal arrives; these cannot.
    assert {"StatisticsGen", "Transform", "Trainer", "Evaluator"} <= set(hit), hit

    undisturbed, _ = first
    expected = lineage(undisturbed.database, first_run.run_id)
    assert lineage(project.database, project.latest.run_id) == expected
    assert {e["state"] for e in expected} == {"COMPLETE"}
    [version] = project.versions
    assert str(version) == project.latest.pushed_to
    assert weights(version) == weights(Path(first_run.pushed_to))


@pytest.mark.slow
def test_ctrl_c_ends_within_seconds_and_says_how_to_go_on_and_resume_from_where(
    processes: Template, rows: Path, tmp_path: Path
) -> None:
    """Twice in one run: in Transform, and when the resumed run is training."""
    project = make_project(tmp_path, rows)
    project.change("train.steps", 3000)
    project.change("train.steps_per_epoch", 300)
    started = processes.start("run", str(project.folder))
    wait_for(lambda: has_begun(project.config.root, "Transform"))
    time.sleep(1)
    signalled = time.monotonic()
    os.kill(started.pid, signal.SIGINT)
    assert started.wait() == INTERRUPTED_EXIT_CODE
    assert time.monotonic() - signalled < 10
    go_on = f"stopped by Ctrl-C; go on with assay run --resume {project.folder}"
    assert go_on in started.terminal
    assert "Traceback" not in started.terminal
    record = project.latest
    assert (record.state, record.exit_code) == ("interrupted", INTERRUPTED_EXIT_CODE)
    assert states(record)["Transform"] == "failed"
    assert re.search(r"^  – Transform +\d+\.\d s  interrupted$", started.terminal, re.MULTILINE)
    found = {e["node"]: e["state"] for e in lineage(project.database, record.run_id)}
    assert set(found.values()) == {"COMPLETE", "FAILED"}

    checkpoints = "artifacts/Trainer/model_run/*/checkpoints/checkpoint"
    started = processes.start("run", "--resume", str(project.folder))
    wait_for(lambda: bool(list(project.config.root.glob(checkpoints))))
    os.kill(started.pid, signal.SIGINT)
    assert started.wait() == INTERRUPTED_EXIT_CODE
    line = r"^  – Trainer +\d+\.\d s  interrupted at step (\d+) of 3000$"
    stopped = re.search(line, started.terminal, re.MULTILINE)
    assert stopped, started.terminal
    resumed = processes.start("run", "--resume", str(project.folder))
    assert resumed.wait() == 0, resumed.terminal
    line = r"^  ↻ Trainer: training resumed after step (\d+) of 3000 \(epoch \d\)$"
    again = re.search(line, resumed.terminal, re.MULTILINE)
    assert again, resumed.terminal
    assert 0 < int(again[1]) <= int(stopped[1])
    assert re.search(r"^  ✓ Transform +reused$", resumed.terminal, re.MULTILINE)
    assert project.latest.run_id == record.run_id
    assert project.latest.state == "complete"
    assert_nothing_half_written(project, versions=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 300 kB, to begin with."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = Disk(folder)
    if made.mount("size=300k") != 0:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield made
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@dataclass(frozen=True)
class Disk:
    """A tmpfs."""

    folder: Path

    def mount(self, options: str) -> int:
        """Mounts it, or changes it with `remount,...`; the exit code."""
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.slow
def test_a_disk_that_fills_up_and_is_enlarged(
    processes: Template, rows: Path, tmp_path: Path, disk: Disk
) -> None:
    project = make_project(tmp_path / "project", rows)
    project.change("run.root", str(disk.folder / "runs"))
    words = ["run", str(project.folder)]
    failed_in = []
    for size in range(400, 6000, 300):
        assert disk.mount(f"remount,size={size}k") == 0
        started = processes.start(*words)
        code = started.wait()
        if code == 0:
            break
        assert code == StorageError.exit_code, started.terminal
        assert "the disk is full" in started.terminal
        assert_one_screen(started.terminal)
        # A whole version may be out when there is no room left to record it, but no half of one.
        assert_nothing_half_written(project)
        assert not [v for v in project.versions if v.name.startswith(".")]
        failed_in += [n for n, state in states(project.latest).items() if state == "failed"]
        words = ["run", "--resume", str(project.folder)]
    assert code == 0, started.terminal
    assert len(failed_in) >= 3, failed_in
    assert_nothing_half_written(project, versions=1)


def test_a_read_only_folder(rows: Path, tmp_path: Path, disk: Disk) -> None:
    project = make_project(tmp_path / "project", rows)
    project.change("run.root", str(disk.folder / "runs"))
    assert disk.mount("remount,ro") == 0
    result = project.assay("run")
    assert result.code == StorageError.exit_code
    assert_one_screen(result.terminal)
    assert "the folder is read-only" in result.terminal
    assert str(disk.folder) in result.terminal
    assert "run.root" in result.terminal


def assert_one_screen(terminal: str) -> None:
    """No traceback, and no more lines than a screen of nodes and an error need."""
    assert "Traceback" not in terminal
    assert len(terminal.splitlines()) <= 24, terminal


def assert_nothing_half_written(project: Project, versions: int = 0) -> None:
    """What TensorFlow Serving would see: whole versions, so many of them at least."""
    seen = [version for version in project.versions if not version.name.startswith(".")]
    assert len(seen) <= 1
    assert len(seen) >= versions
    for version in seen:
        assert version.name.isdecimal()
        assert weights(version)
        assert (version / "saved_model.pb").stat().st_size
