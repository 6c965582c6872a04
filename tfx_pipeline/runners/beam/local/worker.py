"""A worker process of `workers`: reads the files that it is told, through the steps of a pass."""

from __future__ import annotations

import logging
import pickle
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfx_pipeline.worker_process import Pipes

READY, FAILED = "ready", "failed"
# More records than these of a file tell nothing new.
_MOST_RECORDS = 20


def main() -> None:
    """Answers each message until the pipe is closed, which it is when the parent has died, too.

    With None comes a pass, and with a tuple, of what `_Pass.take` wants, a file to be read in it.
    Answers are `READY` or `FAILED`, the traceback, and what was logged meanwhile.
    """
    pipes = Pipes()
    with suppress(OSError):  # Where memory runs out, this process should go, and not its parent.
        Path("/proc/self/oom_score_adj").write_text("500")
    records = _Records()
    logging.getLogger().addHandler(records)
    import tfx  # noqa: F401 - it mends what tfx_bsl lacks for TFDV.
    from apache_beam.options.value_provider import RuntimeValueProvider

    from tfx_pipeline.runners.beam.local import bundles  # noqa: F401 - with Beam and TensorFlow.
    from tfx_pipeline.runners.beam.local.signatures import once_a_class

    RuntimeValueProvider.set_runtime_options({})
    current: _Pass | None = None
    with suppress(BrokenPipeError), once_a_class():
        pipes.send((READY, "", records.taken()))
        while True:
            message, content = pipes.receive()
            try:
                if message is None:
                    if current is not None:
                        current.abandon()
                    current = None
                    current = _Pass(content)
                    left = b""
                else:
                    assert current is not None, "a pass comes before its files"
                    left = pickle.dumps(current.take(*message), pickle.HIGHEST_PROTOCOL)
            except Exception:  # noqa: BLE001 - the parent reads the file itself, and tells.
                pipes.send((FAILED, traceback.format_exc(), records.taken()))
            else:
                pipes.send((READY, "", records.taken()), left)


class _Pass:
    """The steps of one pass, each part at work from its first file on; the first part at once, so
    that what it imports and loads is there before a file waits for it."""

    def __init__(self, content: bytes) -> None:
        from apache_beam.internal import cloudpickle_pickler

        self._load = cloudpickle_pickler.loads
        self._steps, kept = pickle.loads(content)
        self._kept = self._load(kept)
        self._graphs: dict[Any, Any] = {}
        self._parts: dict[int, Any] = {}
        if self._steps:
            self._start(min(self._steps))

    def take(self, part: int, bundle: int, path: str, compression: str) -> list[Any]:
        """What a file leaves in the results of a part."""
        if part not in self._parts:
            self._start(part)
        try:
            left: list[Any] = self._parts[part].take(bundle, path, compression)
        except BaseException:
            _abandon(self._parts.pop(part))
            raise
        return left

    def abandon(self) -> None:
        """Tears down what is set up."""
        for part in self._parts.values():
            _abandon(part)

    def _start(self, number: int) -> None:
        from tfx_pipeline.runners.beam.local import operators as ops
        from tfx_pipeline.runners.beam.local.bundles import Part
        from tfx_pipeline.runners.beam.local.wiring import connect

        steps = self._load(self._steps[number])
        (read, *operators), _ = connect(steps, self._kept, self._graphs)
        assert isinstance(read, ops.Read)
        part = Part(number, read, [], operators)
        try:
            for operator in operators:
                operator.start()
        except BaseException:
            _abandon(part)
            raise
        self._parts[number] = part


def _abandon(part: Any) -> None:
    for operator in part.operators:
        operator.abandon()


class _Records(logging.Handler):
    """Keeps warnings, for the log of the run, which is the parent's."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if len(self._kept) < _MOST_RECORDS:
                self._kept.append((record.name, record.levelno, record.getMessage()))
        except Exception:  # noqa: BLE001 - as the handlers of the standard library do.
            self.handleError(record)

    def taken(self) -> list[tuple[str, int, str]]:
        """Names of loggers, levels and messages since the last call."""
        taken, self._kept = self._kept, []
        return taken
