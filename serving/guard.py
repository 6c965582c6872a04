"""Runs a command that must not outlive whoever started it: `python guard.py COMMAND...`.

The command takes this process's place, so its pid is the one that was started. A child waits until
standard input closes, which the kernel sees to when the starter dies, and then kills the command.
For programs that do not watch their standard input themselves, as our own server does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

_WATCH = "--watch"


def main(argv: list[str]) -> None:
    """Becomes the command, with a child that watches; or (`--watch PID`) is that child."""
    if argv[0] == _WATCH:
        _watch(int(argv[1]))
        return
    pid = os.getpid()
    if os.fork() == 0:
        # Anew, so that the list of processes does not show the command's flags twice.
        os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, _WATCH, str(pid)])
    os.execvp(argv[0], argv)


def _watch(pid: int) -> None:
    sys.stdin.buffer.read()
    if os.getppid() == pid:  # else it has ended, and the number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
