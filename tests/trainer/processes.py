"""What needs a process of its own: a CPU that is split before TensorFlow first uses it, a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def last_line(code: str, *arguments: object) -> str:
    """Runs Python code from the repository's root, to its end; the last line that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


_KILLED = """
import json, os, signal, sys, threading
from types import SimpleNamespace
from trainer.progress import Progress, listen
from trainer.run import run_fn

def train(fn_args, step, there):
    def stop(event):
        if isinstance(event, Progress) and event.step >= step:
            there.set()
            threading.Event().wait()
    with listen(stop):
        run_fn(SimpleNamespace(**fn_args))

for fn_args, step in json.load(open(sys.argv[1])):
    there = threading.Event()
    training = threading.Thread(target=train, args=(fn_args, step, there), daemon=True)
    training.start()
    while not there.wait(0.1):
        if not training.is_alive():
            os._exit(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: Path, *trainings: tuple[Any, int]) -> None:
    """A process is killed by SIGKILL in the middle of trainings: each stands still at its step.

    Several in one process, for it takes ten times as long to start as they take.

    Args:
        folder: Where a file may be left.
        trainings: `fn_args`, and the step.
    """
    given = folder / "killed.json"
    given.write_text(json.dumps([(vars(fn_args), step) for fn_args, step in trainings]))
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(given)], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
