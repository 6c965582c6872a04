"""A worker process of `workers`: reads the files that it is told, through the steps of a pass."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

from tfx_pipeline.worker_process import pipes, receive, send

READY, FAILED = "ready", "failed"


def main() -> None:
    """Answers each message until the pipe is closed, which it is when the parent has died, too.

    With None comes a pass, and with a tuple, of what `_Pass.take` wants, a file to be read in it.
    """
    tasks, answers = pipes()
    import tfx  # noqa: F401 - it mends what tfx_bsl lacks for TFDV.
    from apache_beam.options.value_provider import RuntimeValueProvider

    from tfx_pipeline.runners.beam.local import bundles  # noqa: F401 - with Beam and TensorFlow.
    from tfx_pipeline.runners.beam.local.signatures import once_a_class

    RuntimeValueProvider.set_runtime_options({})
    current: _Pass | None = None
    try:
        send(answers, (READY, ""))
        with once_a_class():
            while True:
                message, content = receive(tasks)
                try:
                    if message is None:
                        if current is not None:
                            current.abandon()
                        current = _Pass(content)
                        left = b""
                    else:
                        assert current is not None, "a pass comes before its files"
                        left = pickle.dumps(current.take(*message), pickle.HIGHEST_PROTOCOL)
                except Exception:  # noqa: BLE001 - the parent reads the file itself, and tells.
                    send(answers, (FAILED, traceback.format_exc()))
                else:
                    send(answers, (READY, ""), left)
    except (EOFError, BrokenPipeError):
        return


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
            first = min(self._steps)
            self._parts[first] = self._started(first)

    def take(self, part: int, bundle: int, path: str, compression: str) -> list[Any]:
        """What a file leaves in the results of a part."""
        if part not in self._parts:
            self._parts[part] = self._started(part)
        left: list[Any] = self._parts[part].take(bundle, path, compression)
        return left

    def abandon(self) -> None:
        """Tears down what is set up."""
        for part in self._parts.values():
            for operator in part.operators:
                operator.abandon()

    def _started(self, number: int) -> Any:
        from tfx_pipeline.runners.beam.local import operators as ops
        from tfx_pipeline.runners.beam.local.bundles import Part
        from tfx_pipeline.runners.beam.local.wiring import connect

        steps = self._load(self._steps[number])
        (read, *operators), _ = connect(steps, self._kept, self._graphs)
        assert isinstance(read, ops.Read)
        for operator in operators:
            operator.start()
        return Part(number, read, [], operators)
