"""A process that answers messages through pipes: `ingest.worker` and `runners.beam.local.worker`.

It is started with `python -c`, not by `multiprocessing`: that would import the parent's main module
again, and with it TensorFlow; and a fork of a process in which TensorFlow has threads may hang.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_LENGTHS = struct.Struct("<QQ")
Buffer = bytes | memoryview


def cores() -> int:
    """How many this process may use: of the machine, or of what its container is given."""
    if hasattr(os, "sched_getaffinity"):  # Not on macOS.
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = _CPU_MAX.read_text().split()
        count = min(count, max(1, int(quota) // int(period)))  # "max": no limit.
    return count


class Died(Exception):
    """Raised where a process has ended that should answer.

    Attributes:
        why: How it ended: `ended with 1`, `was ended by SIGKILL`.
        by_signal: Whether a signal ended it: as the system does when memory runs out.
        last: The last line that it printed.
    """

    def __init__(self, why: str, by_signal: bool, last: str) -> None:
        super().__init__(f"{why}: {last}" if last else why)
        self.why, self.by_signal, self.last = why, by_signal, last


def send(stream: IO[bytes], message: Any, content: Buffer = b"") -> None:
    """Writes a message, and bytes that go with it and are not copied for it, for `receive`."""
    pickled = pickle.dumps(message, protocol=5)
    view = memoryview(content)
    stream.write(_LENGTHS.pack(len(pickled), view.nbytes))
    stream.write(pickled)
    stream.write(view)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Any, bytes]:
    """Waits for a message, and the bytes that go with it.

    Raises:
        EOFError: The other side has ended, perhaps within a message.
    """
    message, content = _received(stream)
    return pickle.loads(message), content


def _received(stream: IO[bytes]) -> tuple[bytes, bytes]:
    pickled_size, size = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    return _exactly(stream, pickled_size), _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


class Pipes:
    """In the process itself: messages that come, and where answers go."""

    def __init__(self) -> None:
        """Takes over the standard streams, in which nobody else has a part from now on: what a
        library prints, or a process that it starts reads, is not among the messages."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer.
        self._incoming = os.fdopen(os.dup(0), "rb")
        self._answers = os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._messages: queue.SimpleQueue[tuple[bytes, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._receive, daemon=True).start()

    def receive(self) -> tuple[Any, bytes]:
        """Waits for a message, and the bytes that go with it."""
        message, content = self._messages.get()
        return pickle.loads(message), content

    def send(self, message: Any, content: Buffer = b"") -> None:
        """Answers, with bytes that are not copied for it."""
        send(self._answers, message, content)

    def _receive(self) -> None:
        """Ends the process when the parent closes the pipe or dies, be it in the middle of
        something: nobody wants it any more."""
        try:
            while True:
                self._messages.put(_received(self._incoming))
        except (EOFError, OSError):
            os._exit(0)


class WorkerProcess:
    """The parent's end of it."""

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        """Starts `main` of a module.

        Args:
            module: Its name.
            environment: Variables that differ from this process's.

        Raises:
            OSError: No process can be started.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  Read when the process has died.
        code = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        code += f"from {module} import main; main()"
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, json.dumps([*map(str, sys.path)])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **(environment or {})},
            )
        except BaseException:
            self._errors.close()
            raise

    def ask(self, message: object, content: Buffer = b"") -> tuple[Any, bytes]:
        """The answer to a message, as `receive` gives it.

        Raises:
            Died: The process has ended.
        """
        self.tell(message, content)
        return self.answer()

    def answer(self) -> tuple[Any, bytes]:
        """Waits for what the process says next.

        Raises:
            Died: The process has ended.
        """
        assert self.process.stdout is not None
        try:
            return receive(self.process.stdout)
        except EOFError:
            raise self._died() from None

    def tell(self, message: object, content: Buffer = b"") -> None:
        """Sends a message that has no answer.

        Raises:
            Died: The process has ended.
        """
        assert self.process.stdin is not None
        try:
            send(self.process.stdin, message, content)
        except OSError:
            raise self._died() from None

    def kill(self) -> None:
        """Ends it, whatever it is doing; who waits for an answer gets `Died`."""
        self.process.kill()

    def close(self) -> None:
        """Frees what the process held; it has ended, and nobody waits for its answer."""
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            with contextlib.suppress(OSError):  # What is still unsent has nobody to go to.
                stream.close()  # type: ignore[union-attr]
        self.process.wait()

    def _died(self) -> Died:
        code = self.process.wait()
        why = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        return Died(why, code < 0, "".join(last))
