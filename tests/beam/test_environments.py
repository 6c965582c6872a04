"""Where the Python code runs: each environment type that needs no Docker, on embedded Flink."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.beam.clusters import REPO, free_port
from tests.beam.results import statistics
from tests.e2e.project import Project
from tfx_pipeline.config.pipeline import PipelineConfig
from tfx_pipeline.runners.beam import boot
from tfx_pipeline.runners.beam.options import beam_args

pytestmark = [
    # Beam's loopback workers end with an exception in their threads when a job is over.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.slow,
    pytest.mark.flink,
    pytest.mark.timeout(600),
]

MakeProject = Callable[[dict[str, Any]], Project]


def workers_say(config: PipelineConfig, folder: Path, look: Callable[[int], str]) -> list[str]:
    """What a function says where the workers run it, through the config's Beam options."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    out = folder / "out"
    with beam.Pipeline(options=PipelineOptions(beam_args(config))) as pipeline:
        rows = pipeline | beam.Create([1, 2, 3]) | beam.Reshuffle() | beam.Map(look)
        _ = rows | beam.io.WriteToText(str(out))
    lines = [line for path in folder.glob("out-*") for line in path.read_text().splitlines()]
    assert len(lines) == 3
    return lines


@pytest.fixture
def process_of_the_worker() -> Callable[[int], str]:
    # Nested, so that it is pickled by value: a worker cannot import this module.
    def look(_: int) -> str:
        import os

        return str(os.getpid())

    return look


@pytest.fixture
def boot_script(tmp_path: Path) -> Path:
    """What a worker's machine starts for each worker."""
    script = tmp_path / "boot.sh"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {boot.__file__} "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def worker_pool(boot_script: Path) -> Iterator[str]:
    """A pool of Beam workers on loopback: its address."""
    port = free_port()
    pool = subprocess.Popen(
        [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main",
         f"--service_port={port}", f"--container_executable={boot_script}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield f"localhost:{port}"
    finally:
        os.killpg(pool.pid, 9)
        pool.wait()


def test_loopback_runs_the_code_in_this_process(
    make: MakeProject, tmp_path: Path, process_of_the_worker: Callable[[int], str]
) -> None:
    config = make({"runner": "flink", "parallelism": 1}).config
    assert set(workers_say(config, tmp_path, process_of_the_worker)) == {str(os.getpid())}


def test_loopback_workers_listen_on_loopback_only() -> None:
    """Whoever reaches a worker has it run code."""
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfx_pipeline.runners.beam import runner

    address, server = runner._loopback_pool(PipelineOptions([]))
    try:
        port = int(address.rpartition(":")[2])
        listening = [
            c.laddr.ip.removeprefix("::ffff:")
            for c in psutil.Process().net_connections("inet")
            if c.laddr.port == port
        ]
        assert listening == ["127.0.0.1"]
    finally:
        server.stop(None)


def test_external_runs_it_in_the_pool(
    make: MakeProject,
    tmp_path: Path,
    worker_pool: str,
    process_of_the_worker: Callable[[int], str],
) -> None:
    environment = {"type": "external", "address": worker_pool}
    config = make({"runner": "flink", "parallelism": 1, "environment": environment}).config
    said = set(workers_say(config, tmp_path, process_of_the_worker))
    assert said
    assert str(os.getpid()) not in said


def test_statistics_in_an_external_pool_equal_the_local_ones(
    make: MakeProject, worker_pool: str
) -> None:
    """A node of the pipeline in another process, which must import TFX and TFDV for it."""
    environment = {"type": "external", "address": worker_pool}
    pooled = make({"runner": "flink", "parallelism": 1, "environment": environment})
    local = make({})
    for project in (pooled, local):
        project.run("--to", "StatisticsGen")
    assert statistics(pooled) == statistics(local)


def test_process_installs_the_setup_file_before_it_runs(
    make: MakeProject, tmp_path: Path, boot_script: Path
) -> None:
    """`--setup_file` with the repository's own setup.py: the worker imports what was staged."""
    # A copy: building it leaves files in its folder.
    source = tmp_path / "source"
    wanted = ["setup.py", "pyproject.toml", "transform", "tfx_pipeline", "trainer", "serving"]
    subprocess.run(["cp", "-r", "--parents", *wanted, str(_made(source))], cwd=REPO, check=True)
    (source / "transform" / "staged_mark.py").write_text("MARK = 'from the staged package'\n")
    config = make(
        {
            "runner": "flink",
            "parallelism": 1,
            "environment": {"type": "process", "command": str(boot_script)},
            "setup_file": str(source / "setup.py"),
        }
    ).config

    def look(_: int) -> str:
        from transform.staged_mark import MARK

        import tfx_pipeline.config.beam

        return f"{MARK} {tfx_pipeline.config.beam.__file__}"

    said = workers_say(config, tmp_path, look)
    for line in said:
        assert line.startswith("from the staged package ")
        assert str(REPO) not in line
        assert "/installed/" in line


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
