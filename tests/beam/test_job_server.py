"""The job server's life: one for all nodes, gone with the process that started it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.beam.clusters import JARS, wait_for_true
from tfx_pipeline.errors import EnvironmentMismatch
from tfx_pipeline.runners.beam import runner

pytestmark = [pytest.mark.slow, pytest.mark.flink]

COMMAND = [
    "java", "-jar", str(next(JARS.glob("assay-flink-*.jar"), "")), "--flink-master", "[local]",
    "--job-host", "localhost", "--artifacts-dir", "{artifacts_dir}", "--job-port", "{job_port}",
    "--artifact-port", "0", "--expansion-port", "0",
]  # fmt: skip


def javas(parent: psutil.Process) -> list[psutil.Process]:
    return [p for p in parent.children(recursive=True) if p.name() == "java"]


def test_threads_share_one_and_a_dead_one_is_replaced() -> None:
    server = runner.SharedJobServer(COMMAND, 0, "")
    me = psutil.Process()
    before = set(javas(me))
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: server.start(), range(4)))
        [java] = set(javas(me)) - before
        java.kill()
        wait_for_true(lambda: not java.is_running(), 10)
        time.sleep(0.5)  # The shell above it notices.
        server.start()
        [other] = set(javas(me)) - before
        assert other != java
    finally:
        server.stop()
    wait_for_true(lambda: set(javas(me)) <= before, 10)


def test_a_port_that_another_took_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        taken = other.getsockname()[1]
        ports = iter([taken, runner._free_port()])
        monkeypatch.setattr(runner, "_free_port", lambda: next(ports))
        server = runner.SharedJobServer(COMMAND, 0, "")
        try:
            server.start()
        finally:
            server.stop()
        with pytest.raises(EnvironmentMismatch, match="in use"):
            runner.SharedJobServer(COMMAND, taken, "").start()


def test_it_ends_when_its_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from tfx_pipeline.runners.beam.runner import SharedJobServer\n"
        f"SharedJobServer({COMMAND!r}, 0, '').start()\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        [java] = javas(psutil.Process(process.pid))
        process.kill()
        process.wait()
        wait_for_true(lambda: not java.is_running(), 15)
    finally:
        process.kill()


def test_one_that_does_not_start_says_why() -> None:
    server = runner.SharedJobServer([*COMMAND[:-1], "no number"], 0, "")
    with pytest.raises(EnvironmentMismatch, match="at its start"):
        server.start()
    nowhere = runner.SharedJobServer(["/no/java", *COMMAND[1:]], 0, "")
    with pytest.raises(EnvironmentMismatch, match="not found"):
        nowhere.start()
