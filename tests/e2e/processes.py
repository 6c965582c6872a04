"""`assay` as a process of its own that can be killed, without the seconds of its imports.

A template process imports the pipeline once and forks for every command. A fork is a process like
any other: it has its own id, holds its own locks, and dies by SIGKILL alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.report import record as records

ASSAY = """
import tfx_pipeline.graph, tfx_pipeline.runners.local.execute, trainer.run, trainer.export
from tfx_pipeline.cli.main import main
"""

_TEMPLATE = """
import os, sys, traceback
exec(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    output, *words = line.rstrip("\\n").split("\\t")
    pid = os.fork()
    if pid == 0:
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(target, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["assay", *words]
        try:
            main()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@dataclass
class Started:
    """A running `assay`."""

    pid: int
    template: subprocess.Popen[str]
    output: Path

    def wait(self) -> int:
        """The exit code; the negative signal's number where a signal ended it."""
        return int(_line(self.template))

    def kill(self) -> int:
        """Ends it as `kill -9` does, and waits for the exit code."""
        with suppress(ProcessLookupError):  # It has ended meanwhile.
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    @property
    def terminal(self) -> str:
        """What it has printed."""
        return self.output.read_text(errors="replace")


@dataclass
class Template:
    """The process that forks; one command at a time."""

    process: subprocess.Popen[str]
    folder: Path

    def start(self, *words: str) -> Started:
        """Starts `assay WORDS`."""
        output = self.folder / "terminal"
        assert self.process.stdin is not None
        self.process.stdin.write("\t".join([str(output), *words]) + "\n")
        self.process.stdin.flush()
        return Started(int(_line(self.process)), self.process, output)


@contextmanager
def template(folder: Path, repo: Path, program: str = ASSAY) -> Iterator[Template]:
    """Imports the pipeline in a new process; ends it whatever happens.

    Args:
        folder: For its log, and the terminals of its forks.
        repo: On its path.
        program: What it imports, and the function `main` that a fork calls with its `sys.argv`.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _TEMPLATE, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "template.log").open("wb"),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(repo), "COLUMNS": "120"},
        text=True,
        start_new_session=True,
    )
    try:
        assert _line(process) == "ready"
        yield Template(process, folder)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    """Looks again and again, every two milliseconds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came to this"
        time.sleep(0.002)


def has_begun(root: Path, node: str) -> bool:
    """Whether a node of the newest run is at work, or was: the short ones end between two looks."""
    found = records.run_ids(root)
    if not found:
        return False
    nodes = json.loads((root / found[-1] / records.RECORD_FILE).read_text())["nodes"]
    return bool(nodes) and nodes[node]["state"] not in ("waiting", "not run")


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the template process has ended; its log is template.log"
    return line.strip()
